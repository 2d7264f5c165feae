/* How sessions do: health, figures, parking, limits, an outage, restoring with progress, metrics. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "world.h"

static centralita_service *open_with(const char *store, const char *const options[][2])
{
    centralita_error *err = NULL;
    centralita_service *service = NULL;
    centralita_config *config = test_config();
    for (; (*options)[0] != NULL; options++) {
        OK(centralita_config_set(config, centralita_cstr((*options)[0]), centralita_cstr((*options)[1]), &err));
    }
    OK(centralita_service_open(centralita_cstr(store), config, &service, &err));
    centralita_config_free(&config);
    return service;
}

static centralita_session_figures figures(centralita_session *session)
{
    centralita_error *err = NULL;
    centralita_session_figures figures = CENTRALITA_SESSION_FIGURES_INIT;
    OK(centralita_session_get_figures(session, &figures, &err));
    CHECK(figures.struct_size == sizeof figures);
    return figures;
}

static centralita_service_figures fleet(centralita_service *service)
{
    centralita_error *err = NULL;
    centralita_service_figures figures = CENTRALITA_SERVICE_FIGURES_INIT;
    OK(centralita_service_get_figures(service, &figures, &err));
    return figures;
}

static void expect_text(centralita_buf *text, const char *wanted)
{
    if (strstr(text->ptr, wanted) == NULL) {
        fprintf(stderr, "no %s in %s\n", wanted, text->ptr);
        exit(1);
    }
}

/* A program of another version of the header. */
static void sizes(centralita_service *service)
{
    centralita_error *err = NULL;
    struct {
        centralita_service_figures known;
        uint64_t newer;
    } figures;
    memset(&figures, 0x5A, sizeof figures);
    figures.known.struct_size = sizeof figures;
    OK(centralita_service_get_figures(service, &figures.known, &err));
    CHECK(figures.known.running == 1 && figures.newer == 0 && figures.known.struct_size == sizeof figures);
    for (uint32_t wrong = 0; wrong < sizeof figures.known; wrong += 4) {
        figures.known.struct_size = wrong;
        figures.known.running = 99;
        STATUS(CENTRALITA_INVALID, centralita_service_get_figures(service, &figures.known, &err));
        CHECK(figures.known.running == 99);
    }
}

static void next_of_type(centralita_subscription *events, int32_t type, const char *wanted)
{
    for (;;) {
        centralita_error *err = NULL;
        centralita_event *event = NULL;
        OK(centralita_subscription_next(events, PATIENCE_MS, &event, &err));
        centralita_str json = centralita_event_json(event);
        bool found = false;
        if (centralita_event_type(event) == type) {
            char *copy = calloc(1, json.len + 1);
            CHECK(copy != NULL);
            memcpy(copy, json.ptr, json.len);
            found = strstr(copy, wanted) != NULL;
            free(copy);
        }
        centralita_event_free(&event);
        if (found) {
            return;
        }
    }
}

/* Two at once, then one each five seconds: the third is refused with the time to wait, or waits by itself. */
static void limits(centralita_session *session, centralita_subscription *events, const char *contact)
{
    centralita_error *err = NULL;
    centralita_buf json = CENTRALITA_BUF_INIT;
    centralita_outgoing message = centralita_text(centralita_cstr(contact), CENTRALITA_STR("hola"));
    OK(centralita_session_send(session, &message, NULL, NULL, &err));
    OK(centralita_session_send(session, &message, NULL, NULL, &err));
    int32_t status = centralita_session_send(session, &message, NULL, NULL, &err);
    CHECK(status == CENTRALITA_RATE_LIMITED);
    CHECK(centralita_error_retry_after_ms(err) > 0 && centralita_error_is_retryable(err));
    centralita_error_free(&err);

    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    message.queue_until_ms = ((int64_t)now.tv_sec + 600) * 1000;
    message.queue_ms = 1;
    STATUS(CENTRALITA_INVALID, centralita_session_send(session, &message, NULL, NULL, &err));
    message.queue_ms = 0;
    OK(centralita_session_send(session, &message, NULL, &json, &err));
    expect_text(&json, "\"status\":\"queued\"");
    centralita_buf_free(&json);
    next_of_type(events, CENTRALITA_EVENT_OUTBOX_ENDED, "\"outcome\":\"sent\"");
    message.queue_until_ms = 1000;
    STATUS(CENTRALITA_INVALID, centralita_session_send(session, &message, NULL, NULL, &err));
}

static void parking(centralita_service *service, centralita_session *session, centralita_subscription *events,
                    const char *phone, const char *contact)
{
    centralita_error *err = NULL;
    centralita_buf json = CENTRALITA_BUF_INIT;
    CHECK(!centralita_session_is_parked(session));
    OK(centralita_session_park(session, NULL, &err));
    CHECK(centralita_session_is_parked(session) && !centralita_session_is_connected(session));
    centralita_session_figures parked = figures(session);
    /* It counts as parked from the order on; the engine goes a moment later. */
    for (int i = 0; parked.memory_bytes != -1 && i < PATIENCE_MS / 5; i++) {
        struct timespec ms = { 0, 5000000 };
        nanosleep(&ms, NULL);
        parked = figures(session);
    }
    CHECK(parked.parked == 1);
    CHECK(parked.link == CENTRALITA_VITAL_BAD);
    CHECK(parked.receive == CENTRALITA_VITAL_UNKNOWN && parked.send == CENTRALITA_VITAL_UNKNOWN);
    CHECK(parked.memory_bytes == -1);
    centralita_service_figures all = fleet(service);
    CHECK(all.running == 1 && all.connected == 0 && all.parked == 1 && all.unwell == 0);
    OK(centralita_session_health(session, NULL, &json, &err));
    expect_text(&json, "\"parked\":true");
    expect_text(&json, "\"memoryBytes\":null");
    centralita_buf_free(&json);

    phone_sends(contact, phone, "despierta");
    OK(centralita_session_reconnect_now(session, &err));
    OK(centralita_session_wait_connected(session, PATIENCE_MS, NULL, &err));
    next_of_type(events, CENTRALITA_EVENT_MESSAGE, "despierta");
    CHECK(!centralita_session_is_parked(session));

    /* A send wakes it, too. */
    OK(centralita_session_park(session, NULL, &err));
    centralita_outgoing message = centralita_text(centralita_cstr(contact), CENTRALITA_STR("buenas"));
    message.queue_ms = PATIENCE_MS;
    OK(centralita_session_send(session, &message, NULL, NULL, &err));
    OK(centralita_session_wait_connected(session, PATIENCE_MS, NULL, &err));
}

/* WhatsApp refuses everybody: the fleet pauses, and says until when. */
static void outage(centralita_service *service, centralita_session *session)
{
    char answer[1024];
    centralita_error *err = NULL;
    centralita_buf json = CENTRALITA_BUF_INIT;
    CHECK(stand_in("/admin/faults/http-503", "{\"on\":true}", answer, sizeof answer) < 300);
    CHECK(stand_in("/admin/faults/drop", "{}", answer, sizeof answer) < 300);
    centralita_service_figures all = fleet(service);
    for (int i = 0; all.breaker != CENTRALITA_BREAKER_OPEN && i < PATIENCE_MS / 5; i++) {
        struct timespec ms = { 0, 5000000 };
        nanosleep(&ms, NULL);
        all = fleet(service);
    }
    CHECK(all.breaker == CENTRALITA_BREAKER_OPEN && all.times_opened >= 1 && all.paused_until_ms > 1500000000000);
    OK(centralita_service_health(service, &json, &err));
    expect_text(&json, "\"timesOpened\":");
    expect_text(&json, "\"pausedUntil\":");
    centralita_buf_free(&json);
    CHECK(stand_in("/admin/faults/clear", "{}", answer, sizeof answer) < 300);
    OK(centralita_session_wait_connected(session, PATIENCE_MS, NULL, &err));
}

struct steps {
    atomic_int looked_at, connected, drops;
};

static void on_progress(void *user_data, const centralita_restore_step *step)
{
    struct steps *steps = user_data;
    CHECK(step->total == 1 && step->done == 1 && step->ended == 0);
    CHECK(step->session_id.len == 6 && memcmp(step->session_id.ptr, "ventas", 6) == 0);
    CHECK(steps->drops == 0);
    steps->looked_at++;
    steps->connected = (int)step->connected;
}

static void steps_drop(void *user_data)
{
    ((struct steps *)user_data)->drops++;
}

static void restore(const char *store)
{
    static const char *const none[][2] = { { NULL, NULL } };
    centralita_error *err = NULL;
    centralita_buf json = CENTRALITA_BUF_INIT;
    struct steps steps = { 0 };
    centralita_progress progress = CENTRALITA_PROGRESS_INIT;
    progress.user_data = &steps;
    progress.on_progress = on_progress;
    progress.drop = steps_drop;
    centralita_service *service = open_with(store, none);
    STATUS(CENTRALITA_INVALID, centralita_service_restore_and_wait(service, -1, &progress, NULL, &json, &err));
    CHECK(steps.drops == 1 && steps.looked_at == 0);
    steps.drops = 0;
    OK(centralita_service_restore_and_wait(service, PATIENCE_MS, &progress, NULL, &json, &err));
    CHECK(steps.looked_at == 2 && steps.connected == 1 && steps.drops == 1);
    expect_text(&json, "\"connected\":[\"ventas\"]");
    centralita_buf_free(&json);
    OK(centralita_service_shutdown(service, PATIENCE_MS, NULL, &err));
    centralita_service_free(&service);
}

int main(int argc, char **argv)
{
    static const char *const options[][2] = {
        { "metrics", "true" },          { "per_session_metrics", "true" },   { "rate_per_session", "12/2" },
        { "breaker_threshold", "1" },   { "breaker_window_ms", "1000" },     { "breaker_pause_min_ms", "300" },
        { "breaker_pause_max_ms", "600" }, { "lease_heartbeat_ms", "2000" }, { NULL, NULL },
    };
    char phone[32], contact[32], path[256];
    snprintf(path, sizeof path, "%s/centralita.db", temporary_folder());
    const char *store = argc > 1 ? argv[1] : path;
    add_phone("Ventas", phone, sizeof phone);
    add_phone("Clienta", contact, sizeof contact);
    centralita_error *err = NULL;
    centralita_session *session = NULL;
    centralita_subscription *events = NULL;
    centralita_buf json = CENTRALITA_BUF_INIT;
    STATUS(CENTRALITA_INVALID_STATE, centralita_metrics_text(&json, &err));
    centralita_service *service = open_with(store, options);
    OK(centralita_subscribe(service, NULL, &events, &err));
    OK(centralita_session_create(service, CENTRALITA_STR("ventas"), NULL, &session, &err));
    link_session(session, phone);

    centralita_session_figures well = figures(session);
    CHECK(well.link == CENTRALITA_VITAL_GOOD && well.parked == 0 && well.restarts == 0 && well.memory_bytes > 0);
    centralita_service_figures all = fleet(service);
    CHECK(all.running == 1 && all.connected == 1 && all.parked == 0 && all.unwell == 0 && all.admitted >= 1 &&
          all.breaker == CENTRALITA_BREAKER_CLOSED && all.paused_until_ms == -1);
    OK(centralita_session_health(session, NULL, &json, &err));
    expect_text(&json, "\"link\":{\"state\":\"good\"");
    centralita_buf_free(&json);
    sizes(service);
    limits(session, events, contact);
    parking(service, session, events, phone, contact);
    OK(centralita_metrics_text(&json, &err));
    expect_text(&json, "centralita_messages_total{");
    expect_text(&json, "session=\"ventas\"");
    centralita_buf_free(&json);
    outage(service, session);

    OK(centralita_session_stop(session, NULL, &err));
    centralita_session_figures gone = CENTRALITA_SESSION_FIGURES_INIT;
    STATUS(CENTRALITA_INVALID_STATE, centralita_session_get_figures(session, &gone, &err));
    STATUS(CENTRALITA_INVALID_STATE, centralita_session_health(session, NULL, &json, &err));
    STATUS(CENTRALITA_INVALID_STATE, centralita_session_park(session, NULL, &err));
    OK(centralita_service_shutdown(service, PATIENCE_MS, NULL, &err));
    STATUS(CENTRALITA_CLOSED, centralita_service_health(service, &json, &err));
    centralita_subscription_free(&events);
    centralita_session_free(&session);
    centralita_service_free(&service);
    restore(store);
    printf("health: ok\n");
    return 0;
}
