/* Callbacks and the ends of things: calls from inside a callback, freeing inside one, shutting down with traffic. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "world.h"

struct scene {
    centralita_service *service;
    centralita_session *session;
    centralita_subscription *subscription;
    centralita_subscription *pulled;
    centralita_link *link;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    atomic_int calls, drops, ends, gone;
};

static void scene_drop(void *user_data)
{
    struct scene *scene = user_data;
    pthread_mutex_lock(&scene->lock);
    scene->drops++;
    pthread_cond_broadcast(&scene->changed);
    pthread_mutex_unlock(&scene->lock);
}

static void wait_drop(struct scene *scene)
{
    pthread_mutex_lock(&scene->lock);
    while (scene->drops == 0) {
        pthread_cond_wait(&scene->changed, &scene->lock);
    }
    pthread_mutex_unlock(&scene->lock);
}

static struct scene new_scene(void)
{
    struct scene scene = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
    return scene;
}

/* What may wait for ever is refused; everything else works. */
static void refused_inside(void *user_data, const centralita_event *event)
{
    struct scene *scene = user_data;
    centralita_error *err = NULL;
    centralita_event *next = NULL;
    centralita_link_step *step = NULL;
    centralita_buf json = CENTRALITA_BUF_INIT;
    CHECK(event != NULL);
    if (scene->calls++ > 0) {
        return;
    }
    /* Until everything is in its place. */
    pthread_mutex_lock(&scene->lock);
    pthread_mutex_unlock(&scene->lock);
    STATUS(CENTRALITA_WOULD_DEADLOCK, centralita_subscription_next(scene->pulled, -1, &next, &err));
    STATUS(CENTRALITA_WOULD_DEADLOCK, centralita_subscription_next(scene->pulled, 1, &next, &err));
    STATUS(CENTRALITA_INVALID_STATE, centralita_subscription_next(scene->subscription, 0, &next, &err));
    STATUS(CENTRALITA_WOULD_DEADLOCK, centralita_link_next(scene->link, 1000, &step, &err));
    STATUS(CENTRALITA_WOULD_DEADLOCK, centralita_session_wait_connected(scene->session, 1000, NULL, &err));
    centralita_progress progress = CENTRALITA_PROGRESS_INIT;
    STATUS(CENTRALITA_WOULD_DEADLOCK, centralita_service_restore(scene->service, &progress, NULL, NULL, &err));
    STATUS(CENTRALITA_WOULD_DEADLOCK, centralita_service_restore_and_wait(scene->service, 1, NULL, NULL, NULL, &err));
    centralita_consumer *consumer = NULL;
    STATUS(CENTRALITA_WOULD_DEADLOCK, centralita_consumer_open(scene->service, CENTRALITA_STR("crm"),
                                                               CENTRALITA_STR("{\"standBy\":true}"), NULL, &consumer, &err));
    int32_t code = centralita_subscription_next(scene->pulled, 0, &next, &err);
    CHECK(code == CENTRALITA_OK || code == CENTRALITA_TIMEOUT);
    centralita_error_free(&err);
    centralita_event_free(&next);
    OK(centralita_session_record(scene->session, NULL, &json, &err));
    centralita_buf_free(&json);
    centralita_op *op = NULL;
    centralita_async later = CENTRALITA_ASYNC_INIT;
    later.op = &op;
    OK(centralita_manager_get_statistics(scene->service, &later, NULL, &err));
    STATUS(CENTRALITA_WOULD_DEADLOCK, centralita_op_wait(op, -1, &err));
    centralita_op_free(&op);
    /* Its own subscription and the service, from inside: this call goes on, then drop. */
    centralita_subscription_free(&scene->subscription);
    CHECK(scene->subscription == NULL);
    centralita_service_free(&scene->service);
    centralita_service_free(&scene->service);
    scene->gone = 1;
}

static void inside_a_callback(void)
{
    centralita_error *err = NULL;
    struct scene scene = new_scene();
    scene.service = open_service("memory:");
    centralita_service *service = scene.service;
    OK(centralita_subscribe(service, NULL, &scene.pulled, &err));
    OK(centralita_session_create(service, CENTRALITA_STR("a"), NULL, &scene.session, &err));
    OK(centralita_session_link(scene.session, &scene.link, &err));
    centralita_sink sink = CENTRALITA_SINK_INIT;
    sink.user_data = &scene;
    sink.on_event = refused_inside;
    sink.drop = scene_drop;
    pthread_mutex_lock(&scene.lock);
    OK(centralita_subscribe(service, &sink, &scene.subscription, &err));
    pthread_mutex_unlock(&scene.lock);
    wait_drop(&scene);
    CHECK(scene.calls >= 1 && scene.drops == 1 && scene.gone && scene.service == NULL);
    centralita_link_free(&scene.link);
    centralita_subscription_free(&scene.pulled);
    centralita_session_free(&scene.session);
}

static void count_end(void *user_data, const centralita_error *error)
{
    struct scene *scene = user_data;
    CHECK(error == NULL);
    scene->ends++;
}

static void count_event(void *user_data, const centralita_event *event)
{
    CHECK(centralita_event_type(event) > 0);
    ((struct scene *)user_data)->calls++;
}

/* Shut down inside a callback. */
static void shut_down_inside(void *user_data, const centralita_event *event)
{
    struct scene *scene = user_data;
    centralita_error *err = NULL;
    CHECK(event != NULL);
    if (scene->calls++ == 0) {
        OK(centralita_service_shutdown(scene->service, PATIENCE_MS, NULL, &err));
        STATUS(CENTRALITA_CLOSED, centralita_manager_get_statistics(scene->service, NULL, NULL, &err));
    }
}

static void shutdown_inside_a_callback(void)
{
    centralita_error *err = NULL;
    struct scene scene = new_scene();
    scene.service = open_service("memory:");
    centralita_sink sink = CENTRALITA_SINK_INIT;
    sink.user_data = &scene;
    sink.on_event = shut_down_inside;
    sink.on_end = count_end;
    sink.drop = scene_drop;
    OK(centralita_subscribe(scene.service, &sink, &scene.subscription, &err));
    /* The callback may be quicker. */
    int32_t code = centralita_session_create(scene.service, CENTRALITA_STR("a"), NULL, NULL, &err);
    CHECK(code == CENTRALITA_OK || code == CENTRALITA_CLOSED);
    centralita_error_free(&err);
    wait_drop(&scene);
    CHECK(scene.ends == 1);
    centralita_subscription_free(&scene.subscription);
    centralita_service_free(&scene.service);
    CHECK(scene.drops == 1);
}

/* `drop` on every path that fails. */
static void drop_after_failures(void)
{
    centralita_error *err = NULL;
    struct scene scene = new_scene();
    centralita_service *service = open_service("memory:");
    centralita_subscription *subscription = NULL;
    centralita_sink sink = CENTRALITA_SINK_INIT;
    sink.user_data = &scene;
    sink.on_event = count_event;
    sink.drop = scene_drop;
    STATUS(CENTRALITA_INVALID, centralita_subscribe(NULL, &sink, &subscription, &err));
    CHECK(scene.drops == 1);
    STATUS(CENTRALITA_INVALID, centralita_subscribe(service, &sink, NULL, &err));
    CHECK(scene.drops == 2);
    sink.overflow = 7;
    STATUS(CENTRALITA_INVALID, centralita_subscribe(service, &sink, &subscription, &err));
    CHECK(scene.drops == 3);
    sink.overflow = 0;
    sink.capacity = UINT32_MAX;
    STATUS(CENTRALITA_INVALID, centralita_subscribe(service, &sink, &subscription, &err));
    CHECK(scene.drops == 4);
    sink.capacity = 0;
    sink.struct_size = 12;
    STATUS(CENTRALITA_INVALID, centralita_subscribe(service, &sink, &subscription, &err));
    CHECK(scene.drops == 4);
    sink.struct_size = (uint32_t)sizeof sink;

    centralita_async later = CENTRALITA_ASYNC_INIT;
    centralita_op *op = (centralita_op *)&scene;
    later.user_data = &scene;
    later.drop = scene_drop;
    later.op = &op;
    centralita_str bad = { "\xff", 1 };
    STATUS(CENTRALITA_INVALID, centralita_session_create(service, bad, &later, NULL, &err));
    CHECK(scene.drops == 5 && op == NULL);
    STATUS(CENTRALITA_INVALID, centralita_session_stop(NULL, &later, &err));
    CHECK(scene.drops == 6);
    centralita_progress progress = CENTRALITA_PROGRESS_INIT;
    progress.user_data = &scene;
    progress.drop = scene_drop;
    STATUS(CENTRALITA_INVALID, centralita_service_restore(NULL, &progress, &later, NULL, &err));
    CHECK(scene.drops == 8);
    OK(centralita_service_restore(service, &progress, NULL, NULL, &err));
    CHECK(scene.drops == 9);
    centralita_log_sink logs = CENTRALITA_LOG_SINK_INIT;
    logs.user_data = &scene;
    logs.drop = scene_drop;
    STATUS(CENTRALITA_INVALID, centralita_log_set(&logs, &err));
    CHECK(scene.drops == 10);
    centralita_handler handler = CENTRALITA_HANDLER_INIT;
    handler.user_data = &scene;
    handler.drop = scene_drop;
    STATUS(CENTRALITA_INVALID, centralita_consumer_run(NULL, &handler, NULL, &err));
    CHECK(scene.drops == 11);
    scene.drops--;

    OK(centralita_service_shutdown(service, PATIENCE_MS, NULL, &err));
    STATUS(CENTRALITA_CLOSED, centralita_subscribe(service, &sink, &subscription, &err));
    CHECK(scene.drops == 11);
    STATUS(CENTRALITA_CLOSED, centralita_session_create(service, CENTRALITA_STR("a"), &later, NULL, &err));
    CHECK(scene.drops == 12 && scene.calls == 0);
    centralita_service_free(&service);
}

struct lines {
    atomic_int count, drops, wrong;
};

static void on_log(void *user_data, int32_t level, centralita_str target, centralita_str message)
{
    struct lines *lines = user_data;
    if (level < CENTRALITA_LOG_ERROR || level > CENTRALITA_LOG_DEBUG || target.len == 0 || message.len == 0) {
        lines->wrong++;
    }
    lines->count++;
}

static void lines_drop(void *user_data)
{
    ((struct lines *)user_data)->drops++;
}

static void logs(void)
{
    centralita_error *err = NULL;
    struct lines first = { 0 }, second = { 0 };
    centralita_log_sink sink = CENTRALITA_LOG_SINK_INIT;
    sink.user_data = &first;
    sink.level = CENTRALITA_LOG_DEBUG;
    sink.on_log = on_log;
    sink.drop = lines_drop;
    OK(centralita_log_set(&sink, &err));
    sink.user_data = &second;
    OK(centralita_log_set(&sink, &err));
    CHECK(first.drops == 1);
    /* Without encryption: the library warns. */
    centralita_config *config = test_config();
    centralita_service *service = NULL;
    OK(centralita_config_set(config, CENTRALITA_STR("dangerously_store_credentials_in_plaintext"),
                             CENTRALITA_STR("true"), &err));
    OK(centralita_service_open(CENTRALITA_STR("memory:"), config, &service, &err));
    centralita_config_free(&config);
    for (int i = 0; second.count == 0 && i < PATIENCE_MS; i++) {
        struct timespec ms = { 0, 1000000 };
        nanosleep(&ms, NULL);
    }
    OK(centralita_log_set(NULL, &err));
    CHECK(second.count > 0 && second.wrong == 0 && second.drops == 1 && first.drops == 1);
    OK(centralita_service_shutdown(service, PATIENCE_MS, NULL, &err));
    centralita_service_free(&service);
}

int main(void)
{
    inside_a_callback();
    shutdown_inside_a_callback();
    drop_after_failures();
    logs();
    printf("callbacks: ok\n");
    return 0;
}
