/* After a fork the child gets a status for what is the parent's, may free it, and may open a service of its own. */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "world.h"

static void on_event(void *user_data, const centralita_event *event)
{
    (void)user_data;
    CHECK(centralita_event_type(event) > 0);
}

static void drop(void *user_data)
{
    *(int *)user_data += 1;
}

static int32_t handle(void *user_data, const centralita_event *event, uint32_t attempt)
{
    on_event(user_data, event);
    return attempt > 0 ? 0 : 1;
}

int main(void)
{
    centralita_error *err = NULL;
    centralita_session *session = NULL;
    centralita_subscription *pushed = NULL, *pulled = NULL;
    centralita_event *event = NULL;
    centralita_link *link = NULL;
    centralita_op *op = NULL, *handling = NULL;
    centralita_cleanup *cleanup = NULL;
    centralita_consumer *consumer = NULL;
    centralita_buf json = CENTRALITA_BUF_INIT;
    int drops = 0;
    centralita_service *service = open_durable_service("memory:");
    centralita_sink sink = CENTRALITA_SINK_INIT;
    sink.user_data = &drops;
    sink.on_event = on_event;
    sink.drop = drop;
    centralita_async later = CENTRALITA_ASYNC_INIT;
    later.op = &op;
    OK(centralita_subscribe(service, &sink, &pushed, &err));
    OK(centralita_subscribe(service, NULL, &pulled, &err));
    OK(centralita_session_create(service, CENTRALITA_STR("a"), NULL, &session, &err));
    OK(centralita_session_link(session, &link, &err));
    OK(centralita_session_wait_connected(session, PATIENCE_MS, &later, &err));
    OK(centralita_cleanup_start(service, centralita_cstr(NULL), &cleanup, &err));
    OK(centralita_consumer_open(service, CENTRALITA_STR("crm"), centralita_cstr(NULL), NULL, &consumer, &err));
    centralita_handler handler = CENTRALITA_HANDLER_INIT;
    handler.user_data = &drops;
    handler.on_event = handle;
    handler.drop = drop;
    later.op = &handling;
    OK(centralita_consumer_run(consumer, &handler, &later, &err));

    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(60);
        centralita_link_step *step = NULL;
        STATUS(CENTRALITA_FORKED, centralita_session_record(session, NULL, &json, &err));
        STATUS(CENTRALITA_FORKED, centralita_manager_get_statistics(service, NULL, &json, &err));
        STATUS(CENTRALITA_FORKED, centralita_subscription_next(pulled, -1, &event, &err));
        STATUS(CENTRALITA_FORKED, centralita_link_next(link, -1, &step, &err));
        STATUS(CENTRALITA_FORKED, centralita_op_wait(op, -1, &err));
        STATUS(CENTRALITA_FORKED, centralita_op_wait(handling, -1, &err));
        STATUS(CENTRALITA_FORKED, centralita_consumer_next(consumer, 1, 1000, NULL, NULL, &err));
        STATUS(CENTRALITA_FORKED, centralita_consumer_stop(consumer, &err));
        STATUS(CENTRALITA_FORKED, centralita_cleanup_get_health_report(cleanup, NULL, &json, &err));
        STATUS(CENTRALITA_FORKED, centralita_service_health(service, &json, &err));
        centralita_session_figures figures = CENTRALITA_SESSION_FIGURES_INIT;
        STATUS(CENTRALITA_FORKED, centralita_session_get_figures(session, &figures, &err));
        STATUS(CENTRALITA_FORKED, centralita_service_shutdown(service, 1000, NULL, &err));
        centralita_service *own = open_service("memory:");
        OK(centralita_manager_get_statistics(own, NULL, &json, &err));
        CHECK(strstr(json.ptr, "\"totalSessions\":0"));
        centralita_buf_free(&json);
        OK(centralita_service_shutdown(own, PATIENCE_MS, NULL, &err));
        centralita_service_free(&own);
        centralita_op_free(&op);
        centralita_op_free(&handling);
        centralita_consumer_free(&consumer);
        centralita_cleanup_free(&cleanup);
        centralita_link_free(&link);
        centralita_session_free(&session);
        centralita_subscription_free(&pushed);
        centralita_subscription_free(&pulled);
        centralita_service_free(&service);
        /* The child has no thread that would call it. */
        _exit(drops == 0 ? 0 : 1);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    /* The parent is as before. */
    OK(centralita_session_record(session, NULL, &json, &err));
    centralita_buf_free(&json);
    OK(centralita_op_cancel(op, &err));
    centralita_op_free(&op);
    OK(centralita_consumer_stop(consumer, &err));
    OK(centralita_op_wait(handling, PATIENCE_MS, &err));
    CHECK(drops == 1);
    drops = 0;
    centralita_op_free(&handling);
    centralita_consumer_free(&consumer);
    centralita_cleanup_free(&cleanup);
    centralita_link_free(&link);
    OK(centralita_service_shutdown(service, PATIENCE_MS, NULL, &err));
    centralita_subscription_free(&pushed);
    centralita_subscription_free(&pulled);
    centralita_session_free(&session);
    centralita_service_free(&service);
    CHECK(drops == 1);
    printf("fork: ok\n");
    return 0;
}
