/* Prints every message, whatever becomes of this process: start it again, and it goes on where it was. */
#include <centralita.h>
#include <stdio.h>
#include <stdlib.h>

static centralita_error *err;
static void try(int status)
{
    if (status > CENTRALITA_PENDING) {
        fprintf(stderr, "%.*s\n", (int)centralita_error_message(err).len, centralita_error_message(err).ptr);
        exit(1);
    }
}

static int32_t on_event(void *user_data, const centralita_event *event, uint32_t attempt)
{
    centralita_str text = centralita_event_text(event);
    (void)user_data, (void)attempt;
    if (centralita_event_type(event) == CENTRALITA_EVENT_MESSAGE)
        printf("%.*s\n", (int)text.len, text.len ? text.ptr : "");
    return fflush(stdout); /* 0: done with; else it comes again, and at last becomes a dead letter */
}

int main(void)
{
    centralita_config *config;
    centralita_service *wa;
    centralita_consumer *consumer;
    centralita_handler handler = CENTRALITA_HANDLER_INIT;
    handler.on_event = on_event;
    try(centralita_config_new(&config, &err));
    try(centralita_config_set(config, CENTRALITA_STR("durable_events"), CENTRALITA_STR("true"), &err));
    try(centralita_service_open(CENTRALITA_STR("centralita.db"), config, &wa, &err));
    try(centralita_service_restore(wa, NULL, NULL, NULL, &err)); /* what was linked before, without a QR code */
    try(centralita_consumer_open(wa, CENTRALITA_STR("printer"), centralita_cstr(NULL), NULL, &consumer, &err));
    try(centralita_consumer_run(consumer, &handler, NULL, &err));
}
