/* Links a phone, prints its messages, answers /ping; ends cleanly at Ctrl-C. Events come by callback.
 *
 *   bot [--store PATH|mongodb://…] [--stand-in ws://127.0.0.1:8080/ws/chat] */
#include <centralita.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bot {
    centralita_session *session;
};

static void report(const char *what, centralita_error **err)
{
    centralita_str message = centralita_error_message(*err);
    fprintf(stderr, "%s: %.*s\n", what, (int)message.len, message.ptr);
    centralita_error_free(err);
}

/* On the subscription's own thread, one event at a time. */
static void on_event(void *user_data, const centralita_event *event)
{
    struct bot *bot = user_data;
    centralita_str text = centralita_event_text(event), name = centralita_event_sender_name(event);
    if (centralita_event_type(event) != CENTRALITA_EVENT_MESSAGE || centralita_event_from_me(event) || !text.ptr) {
        return;
    }
    printf("%.*s: %.*s\n", (int)name.len, name.ptr ? name.ptr : "", (int)text.len, text.ptr);
    fflush(stdout);
    if (text.len == 5 && memcmp(text.ptr, "/ping", 5) == 0) {
        centralita_message_key key;
        centralita_error *err = NULL;
        centralita_event_message_key(event, &key);
        centralita_outgoing reply = centralita_reply(key, CENTRALITA_STR("pong"));
        if (centralita_session_send(bot->session, &reply, NULL, NULL, &err)) {
            report("not answered", &err);
        }
    }
}

static int link_phone(centralita_session *session, int show_text, centralita_error **err)
{
    centralita_link *link = NULL;
    centralita_link_step *step = NULL;
    int32_t last = 0;
    int code = centralita_session_link(session, &link, err);
    while (code == CENTRALITA_OK && (code = centralita_link_next(link, -1, &step, err)) == CENTRALITA_OK) {
        last = centralita_link_step_type(step);
        centralita_str text = centralita_link_step_text(step);
        if (last == CENTRALITA_LINK_QR) {
            centralita_buf picture = CENTRALITA_BUF_INIT;
            code = centralita_qr_render(text, CENTRALITA_QR_TERMINAL, 0, &picture, err);
            fputs(picture.ptr ? picture.ptr : "", stdout);
            centralita_buf_free(&picture);
            if (show_text) {
                printf("qr %.*s\n", (int)text.len, text.ptr);
            }
            fflush(stdout);
        } else if (last == CENTRALITA_LINK_FAILED || last == CENTRALITA_LINK_TIMED_OUT) {
            fprintf(stderr, "not linked: %.*s\n", (int)text.len, text.ptr ? text.ptr : "");
        }
        centralita_link_step_free(&step);
    }
    centralita_link_free(&link);
    return code == CENTRALITA_END && last == CENTRALITA_LINK_LINKED ? CENTRALITA_OK : code;
}

int main(int argc, char **argv)
{
    const char *store = "centralita.db", *stand_in = NULL;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--store") == 0) {
            store = argv[i + 1];
        } else if (strcmp(argv[i], "--stand-in") == 0) {
            stand_in = argv[i + 1];
        }
    }
    /* Before the library makes threads, so that none of them takes the signals. */
    sigset_t stop;
    int signal = 0;
    sigemptyset(&stop);
    sigaddset(&stop, SIGINT);
    sigaddset(&stop, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &stop, NULL);

    struct bot bot = { NULL };
    centralita_service *service = NULL;
    centralita_subscription *subscription = NULL;
    centralita_config *config = NULL;
    centralita_error *err = NULL;
    centralita_sink sink = CENTRALITA_SINK_INIT;
    sink.user_data = &bot;
    sink.on_event = on_event;

    int code = centralita_config_new(&config, &err);
    if (!code && stand_in) {
        code = centralita_config_set(config, CENTRALITA_STR("stand_in_url"), centralita_cstr(stand_in), &err);
    }
    if (!code) {
        code = centralita_service_open(centralita_cstr(store), config, &service, &err);
    }
    centralita_config_free(&config);
    if (!code) {
        code = centralita_session_create(service, CENTRALITA_STR("ventas"), NULL, &bot.session, &err);
    }
    if (!code) {
        code = centralita_subscribe(service, &sink, &subscription, &err);
    }
    if (!code) {
        code = link_phone(bot.session, stand_in != NULL, &err);
    }
    if (!code) {
        puts("connected");
        fflush(stdout);
        sigwait(&stop, &signal);
    } else {
        report("bot", &err);
    }
    /* Shut down first, so that what was received is stored; then no callback will run any more. */
    if (service && centralita_service_shutdown(service, 10000, NULL, &err)) {
        report("shutdown", &err);
    }
    centralita_subscription_free(&subscription);
    centralita_session_free(&bot.session);
    centralita_service_free(&service);
    puts("stopped");
    return code ? 1 : 0;
}
