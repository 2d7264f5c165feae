/* Links a phone, answers every message. */
#include <centralita.h>
#include <stdio.h>
#include <stdlib.h>

static centralita_error *err;
static int try(int status) /* END is no error, but an end */
{
    if (status > CENTRALITA_PENDING) {
        fprintf(stderr, "%.*s\n", (int)centralita_error_message(err).len, centralita_error_message(err).ptr);
        exit(1);
    }
    return status == CENTRALITA_OK;
}

int main(void)
{
    centralita_service *wa;
    centralita_subscription *events;
    centralita_session *session;
    centralita_event *event;
    centralita_link *link;
    centralita_link_step *step;
    try(centralita_service_open(CENTRALITA_STR("centralita.db"), NULL, &wa, &err)); /* back centralita.key up */
    try(centralita_subscribe(wa, NULL, &events, &err));
    try(centralita_session_create(wa, CENTRALITA_STR("ventas"), NULL, &session, &err)); /* again: no QR code */
    try(centralita_session_link(session, &link, &err));
    for (; try(centralita_link_next(link, -1, &step, &err)); centralita_link_step_free(&step)) {
        centralita_buf qr = CENTRALITA_BUF_INIT;
        if (centralita_link_step_type(step) == CENTRALITA_LINK_QR)
            try(centralita_qr_render(centralita_link_step_text(step), CENTRALITA_QR_TERMINAL, 0, &qr, &err));
        printf("%s\n", qr.ptr ? qr.ptr : ""); /* scan it with the phone */
        fflush(stdout);
        centralita_buf_free(&qr);
    }
    for (; try(centralita_subscription_next(events, -1, &event, &err)); centralita_event_free(&event)) {
        centralita_message_key key;
        if (centralita_event_type(event) != CENTRALITA_EVENT_MESSAGE || centralita_event_from_me(event)) continue;
        centralita_event_message_key(event, &key);
        centralita_outgoing pong = centralita_reply(key, CENTRALITA_STR("pong"));
        try(centralita_session_send(session, &pong, NULL, NULL, &err));
    }
}
