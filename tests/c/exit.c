/* Left without a word while traffic flows: by returning from main, or by exit() in a callback. The exit code is the
 * program's own and nothing is written to standard error. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "world.h"

static atomic_int events, exiting;
static const char *how;

static void at_exit(void)
{
    /* Registered before the library's own: it runs after, when what callbacks use may be gone. */
    exiting = 1;
}

static void on_event(void *user_data, const centralita_event *event)
{
    (void)user_data;
    if (exiting || centralita_event_json(event).len == 0) {
        _exit(3);
    }
    events++;
    if (events > 3 && strcmp(how, "callback") == 0) {
        exit(7);
    }
}

static void *traffic(void *sessions)
{
    /* Starts and stops make events without end. */
    centralita_session **session = sessions;
    centralita_service *service = (centralita_service *)session[1];
    for (;;) {
        int32_t code = centralita_session_stop(session[0], NULL, NULL);
        code |= centralita_session_start(service, CENTRALITA_STR("a"), NULL, NULL, NULL);
        (void)code;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    how = argc > 1 ? argv[1] : "return";
    atexit(at_exit);
    centralita_error *err = NULL;
    /* Left alive on purpose. */
    static centralita_session *session[2];
    static centralita_subscription *subscription;
    centralita_service *service = open_service("memory:");
    centralita_sink sink = CENTRALITA_SINK_INIT;
    sink.on_event = on_event;
    OK(centralita_subscribe(service, &sink, &subscription, &err));
    OK(centralita_session_create(service, CENTRALITA_STR("a"), NULL, &session[0], &err));
    session[1] = (centralita_session *)service;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, traffic, session) == 0);
    while (events <= 3 || strcmp(how, "callback") == 0) {
        struct timespec ms = { 0, 1000000 };
        nanosleep(&ms, NULL);
    }
    return 7;
}
