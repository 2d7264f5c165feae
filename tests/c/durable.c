/* Events that survive a restart: batches, handlers that fail, dead letters, standing by. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "world.h"

static void nap(void)
{
    struct timespec ms = { 0, 5000000 };
    nanosleep(&ms, NULL);
}

static centralita_consumer *open_consumer(centralita_service *service, const char *options_json)
{
    centralita_error *err = NULL;
    centralita_consumer *consumer = NULL;
    OK(centralita_consumer_open(service, CENTRALITA_STR("crm"), centralita_cstr(options_json), NULL, &consumer, &err));
    centralita_str name = centralita_consumer_name(consumer);
    CHECK(name.len == 3 && memcmp(name.ptr, "crm", 3) == 0);
    return consumer;
}

/* Takes events until one has this text; puts its cursor into `cursor` and says whether it was replayed. */
static bool take_text(centralita_consumer *consumer, const char *text, char *cursor)
{
    char wanted[64];
    snprintf(wanted, sizeof wanted, "\"text\":\"%s\"", text);
    for (;;) {
        centralita_error *err = NULL;
        centralita_buf json = CENTRALITA_BUF_INIT;
        OK(centralita_consumer_next(consumer, 1, PATIENCE_MS, NULL, &json, &err));
        CHECK(json.len > 2); /* [] would be a time-out */
        bool found = strstr(json.ptr, wanted) != NULL, replayed = strstr(json.ptr, "\"replayed\":true") != NULL;
        CHECK(sscanf(strstr(json.ptr, "\"cursor\":"), "\"cursor\":\"%511[^\"]", cursor) == 1);
        centralita_buf_free(&json);
        if (found) {
            return replayed;
        }
    }
}

/* Waits until the dead letters of the consumer have a text in them. */
static void wait_dead_letter(centralita_service *service, const char *text)
{
    for (int i = 0; i < PATIENCE_MS / 5; i++) {
        centralita_error *err = NULL;
        centralita_buf json = CENTRALITA_BUF_INIT;
        OK(centralita_dead_letters(service, CENTRALITA_STR("crm"), centralita_cstr(NULL), NULL, &json, &err));
        bool found = strstr(json.ptr, text) != NULL;
        centralita_buf_free(&json);
        if (found) {
            return;
        }
        nap();
    }
    CHECK(!"the dead letter has come");
}

static void expect_number(centralita_buf *json, const char *number)
{
    CHECK(strcmp(json->ptr, number) == 0);
    centralita_buf_free(json);
}

/* What a consumer has not acknowledged comes again; a cursor names its consumer. */
static void durable(centralita_service *service)
{
    centralita_error *err = NULL;
    centralita_consumer *consumer = NULL, *again = NULL;
    centralita_buf json = CENTRALITA_BUF_INIT;
    char cursor[512] = { 0 };
    OK(centralita_consumer_open(service, CENTRALITA_STR("crm"), CENTRALITA_STR("{\"start\":\"oldest\"}"), NULL, &consumer, &err));
    STATUS(CENTRALITA_CONFLICT, centralita_consumer_open(service, CENTRALITA_STR("crm"), centralita_cstr(NULL), NULL, &again, &err));
    OK(centralita_consumer_next(consumer, 1, PATIENCE_MS, NULL, &json, &err));
    CHECK(strstr(json.ptr, "\"event\":{") && strstr(json.ptr, "\"sessionId\":\"ventas\""));
    CHECK(sscanf(strstr(json.ptr, "\"cursor\":"), "\"cursor\":\"%511[^\"]", cursor) == 1);
    centralita_buf_free(&json);
    STATUS(CENTRALITA_INVALID, centralita_consumer_ack(consumer, CENTRALITA_STR("nonsense"), NULL, &err));
    OK(centralita_consumer_close(consumer, NULL, &err));
    centralita_consumer_free(&consumer);
    OK(centralita_consumer_open(service, CENTRALITA_STR("crm"), centralita_cstr(NULL), NULL, &consumer, &err));
    OK(centralita_consumer_next(consumer, 1, PATIENCE_MS, NULL, &json, &err));
    CHECK(strstr(json.ptr, cursor));
    centralita_buf_free(&json);
    OK(centralita_consumer_ack(consumer, centralita_cstr(cursor), NULL, &err));
    OK(centralita_consumer_next(consumer, 1, PATIENCE_MS, NULL, &json, &err));
    CHECK(!strstr(json.ptr, cursor));
    centralita_buf_free(&json);
    OK(centralita_consumer_close(consumer, NULL, &err));
    centralita_consumer_free(&consumer);
    OK(centralita_consumers(service, NULL, &json, &err));
    CHECK(strstr(json.ptr, "\"name\":\"crm\""));
    centralita_buf_free(&json);
    OK(centralita_dead_letters(service, CENTRALITA_STR("crm"), centralita_cstr(NULL), NULL, &json, &err));
    CHECK(strstr(json.ptr, "\"items\":[]"));
    centralita_buf_free(&json);
    OK(centralita_consumer_delete(service, CENTRALITA_STR("crm"), NULL, &err));
}

/* Put aside by hand, replayed, discarded. */
static void rejects(centralita_service *service)
{
    centralita_error *err = NULL;
    centralita_buf json = CENTRALITA_BUF_INIT;
    char cursor[512], again[512];
    centralita_consumer *consumer = open_consumer(service, NULL);
    CHECK(!take_text(consumer, "uno", cursor));
    STATUS(CENTRALITA_INVALID, centralita_consumer_reject(consumer, CENTRALITA_STR("x"), CENTRALITA_STR("y"), NULL, &err));
    OK(centralita_consumer_reject(consumer, centralita_cstr(cursor), CENTRALITA_STR("no such customer"), NULL, &err));
    OK(centralita_dead_letters(service, CENTRALITA_STR("crm"), CENTRALITA_STR("{\"limit\":1}"), NULL, &json, &err));
    CHECK(strstr(json.ptr, "no such customer") && strstr(json.ptr, "\"replay\":false"));
    centralita_buf_free(&json);
    STATUS(CENTRALITA_NOT_FOUND, centralita_dead_letters_replay(service, CENTRALITA_STR("crm"), CENTRALITA_STR("ventas"),
                                                                1000000, NULL, NULL, &err));
    OK(centralita_dead_letters_replay(service, CENTRALITA_STR("crm"), centralita_cstr(NULL), 0, NULL, &json, &err));
    expect_number(&json, "1");
    CHECK(take_text(consumer, "uno", again));
    /* It fails again, is put aside again by its new cursor, and is discarded. */
    OK(centralita_consumer_reject(consumer, centralita_cstr(again), CENTRALITA_STR("still none"), NULL, &err));
    wait_dead_letter(service, "still none");
    OK(centralita_dead_letters_discard(service, CENTRALITA_STR("crm"), centralita_cstr(NULL), 0, NULL, &json, &err));
    expect_number(&json, "1");
    OK(centralita_consumer_close(consumer, NULL, &err));
    STATUS(CENTRALITA_CLOSED, centralita_consumer_next(consumer, 1, 0, NULL, NULL, &err));
    centralita_consumer_free(&consumer);
}

struct work {
    centralita_consumer *consumer;
    atomic_int calls, failures, drops, last_attempt, stopped_at;
};

static int32_t handle(void *user_data, const centralita_event *event, uint32_t attempt)
{
    struct work *work = user_data;
    centralita_error *err = NULL;
    centralita_str text = centralita_event_text(event);
    CHECK(work->drops == 0);
    work->calls++;
    if (text.len == 3 && memcmp(text.ptr, "mal", 3) == 0) {
        work->failures++;
        work->last_attempt = (int)attempt;
        return 7;
    }
    if (text.len == 3 && memcmp(text.ptr, "fin", 3) == 0) {
        /* What waits for this very call is refused, what ends it is not. */
        STATUS(CENTRALITA_WOULD_DEADLOCK, centralita_consumer_close(work->consumer, NULL, &err));
        STATUS(CENTRALITA_WOULD_DEADLOCK, centralita_consumer_next(work->consumer, 1, 1, NULL, NULL, &err));
        OK(centralita_consumer_stop(work->consumer, &err));
        work->stopped_at = work->calls;
    }
    return 0;
}

static void work_drop(void *user_data)
{
    ((struct work *)user_data)->drops++;
}

static void handlers(centralita_service *service, const char *phone, const char *contact)
{
    centralita_error *err = NULL;
    centralita_buf json = CENTRALITA_BUF_INIT;
    centralita_op *op = NULL;
    struct work work = { 0 };
    centralita_handler handler = CENTRALITA_HANDLER_INIT;
    centralita_async later = CENTRALITA_ASYNC_INIT;
    handler.user_data = &work;
    handler.on_event = handle;
    handler.drop = work_drop;
    later.op = &op;
    work.consumer = open_consumer(service, "{\"maxAttempts\":2,\"minPauseMs\":1,\"maxPauseMs\":2}");

    /* In the background: a failure is tried again, then put aside; what came after it is handled. */
    OK(centralita_consumer_run(work.consumer, &handler, &later, &err));
    phone_sends(contact, phone, "hola");
    for (int i = 0; work.calls == 0 && i < PATIENCE_MS / 5; i++) {
        nap();
    }
    CHECK(work.calls > 0);
    /* It runs for certain now, so another is refused. */
    struct work refused = { 0 };
    handler.user_data = &refused;
    STATUS(CENTRALITA_INVALID_STATE, centralita_consumer_run(work.consumer, &handler, NULL, &err));
    CHECK(refused.drops == 1 && refused.calls == 0);
    handler.user_data = &work;
    STATUS(CENTRALITA_INVALID_STATE, centralita_consumer_next(work.consumer, 1, 0, NULL, NULL, &err));
    phone_sends(contact, phone, "mal");
    wait_dead_letter(service, "handler answered 7");
    CHECK(work.failures == 2 && work.last_attempt == 2);
    STATUS(CENTRALITA_PENDING, centralita_op_wait(op, 0, &err));
    OK(centralita_consumer_stop(work.consumer, &err));
    OK(centralita_op_wait(op, PATIENCE_MS, &err));
    CHECK(work.drops == 1);
    centralita_op_free(&op);

    /* Here: it returns when it is stopped, which the handler itself may do. */
    work.drops = 0;
    phone_sends(contact, phone, "fin");
    OK(centralita_consumer_run(work.consumer, &handler, NULL, &err));
    CHECK(work.drops == 1 && work.stopped_at == work.calls);

    /* Cancelled. */
    work.drops = 0;
    OK(centralita_consumer_run(work.consumer, &handler, &later, &err));
    OK(centralita_op_cancel(op, &err));
    STATUS(CENTRALITA_CANCELLED, centralita_op_wait(op, PATIENCE_MS, &err));
    for (int i = 0; work.drops == 0 && i < PATIENCE_MS / 5; i++) {
        nap();
    }
    CHECK(work.drops == 1);
    centralita_op_free(&op);

    OK(centralita_dead_letters_discard(service, CENTRALITA_STR("crm"), centralita_cstr(NULL), 0, NULL, &json, &err));
    expect_number(&json, "1");

    /* Opened later; standing by is for other processes. */
    centralita_consumer *second = NULL;
    centralita_str stand_by = CENTRALITA_STR("{\"standBy\":true}");
    OK(centralita_consumer_open(service, CENTRALITA_STR("crm"), stand_by, &later, NULL, &err));
    STATUS(CENTRALITA_CONFLICT, centralita_op_wait(op, PATIENCE_MS, &err));
    STATUS(CENTRALITA_INVALID_STATE, centralita_op_consumer(op, service, &second, &err));
    centralita_op_free(&op);
    OK(centralita_consumer_close(work.consumer, NULL, &err));
    centralita_consumer_free(&work.consumer);
    OK(centralita_consumer_open(service, CENTRALITA_STR("crm"), stand_by, &later, NULL, &err));
    OK(centralita_op_wait(op, PATIENCE_MS, &err));
    OK(centralita_op_consumer(op, service, &second, &err));
    centralita_op_free(&op);
    OK(centralita_consumer_close(second, NULL, &err));
    centralita_consumer_free(&second);
}

int main(int argc, char **argv)
{
    char phone[32], contact[32], path[256];
    snprintf(path, sizeof path, "%s/centralita.db", temporary_folder());
    add_phone("Ventas", phone, sizeof phone);
    add_phone("Clienta", contact, sizeof contact);
    centralita_error *err = NULL;
    centralita_session *session = NULL;
    centralita_service *service = open_durable_service(argc > 1 ? argv[1] : path);
    OK(centralita_session_create(service, CENTRALITA_STR("ventas"), NULL, &session, &err));
    link_session(session, phone);
    phone_sends(contact, phone, "uno");

    durable(service);
    rejects(service);
    handlers(service, phone, contact);

    OK(centralita_service_shutdown(service, PATIENCE_MS, NULL, &err));
    centralita_session_free(&session);
    centralita_service_free(&service);
    printf("durable: ok\n");
    return 0;
}
