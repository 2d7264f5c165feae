/* A session's life: link, events pushed and pulled, sends in every form, records, a restart without a QR code. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "check.h"
#include "world.h"

struct bot {
    centralita_session *session;
    atomic_int messages, ends, drops, replies_failed;
    uint64_t last_seq;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static void on_event(void *user_data, const centralita_event *event)
{
    struct bot *bot = user_data;
    CHECK(centralita_event_seq(event) > bot->last_seq);
    bot->last_seq = centralita_event_seq(event);
    CHECK(centralita_event_at_ms(event) > 1500000000000);
    CHECK(centralita_event_session_id(event).len == 6);
    CHECK(centralita_event_json(event).len > 10);
    if (centralita_event_type(event) != CENTRALITA_EVENT_MESSAGE || centralita_event_from_me(event)) {
        return;
    }
    centralita_str text = centralita_event_text(event);
    if (text.len == 5 && memcmp(text.ptr, "/ping", 5) == 0) {
        /* A blocking send inside a callback: the natural bot. */
        centralita_message_key key;
        centralita_error *err = NULL;
        CHECK(centralita_event_message_key(event, &key) == CENTRALITA_OK);
        centralita_outgoing reply = centralita_reply(key, CENTRALITA_STR("pong"));
        OK(centralita_session_send(bot->session, &reply, NULL, NULL, &err));
        OK(centralita_session_mark_read(bot->session, &key, 1, NULL, &err));
    }
    pthread_mutex_lock(&bot->lock);
    bot->messages++;
    pthread_cond_broadcast(&bot->changed);
    pthread_mutex_unlock(&bot->lock);
}

static void on_end(void *user_data, const centralita_error *error)
{
    struct bot *bot = user_data;
    CHECK(error == NULL);
    bot->ends++;
}

static void drop(void *user_data)
{
    ((struct bot *)user_data)->drops++;
}

static void wait_messages(struct bot *bot, int count)
{
    pthread_mutex_lock(&bot->lock);
    while (bot->messages < count) {
        pthread_cond_wait(&bot->changed, &bot->lock);
    }
    pthread_mutex_unlock(&bot->lock);
}

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    atomic_int done, drops, status;
    char text[1024];
};

static void on_done(void *user_data, const centralita_op *op)
{
    struct waiter *waiter = user_data;
    centralita_str text = centralita_op_text(op);
    centralita_error *err = NULL;
    CHECK(centralita_op_wait(op, 0, &err) == centralita_op_status(op));
    centralita_error_free(&err);
    pthread_mutex_lock(&waiter->lock);
    waiter->done++;
    waiter->status = centralita_op_status(op);
    snprintf(waiter->text, sizeof waiter->text, "%.*s", (int)text.len, text.len ? text.ptr : "");
    pthread_cond_broadcast(&waiter->changed);
    pthread_mutex_unlock(&waiter->lock);
}

static void waiter_drop(void *user_data)
{
    struct waiter *waiter = user_data;
    pthread_mutex_lock(&waiter->lock);
    waiter->drops++;
    pthread_cond_broadcast(&waiter->changed);
    pthread_mutex_unlock(&waiter->lock);
}

static void sends(centralita_session *session, const char *contact)
{
    centralita_error *err = NULL;
    centralita_buf sent = CENTRALITA_BUF_INIT;
    centralita_outgoing message = centralita_text(centralita_cstr(contact), CENTRALITA_STR("hola"));
    message.idempotency_key = CENTRALITA_STR("order-17");
    OK(centralita_session_send(session, &message, NULL, &sent, &err));
    CHECK(strstr(sent.ptr, "\"repeated\":false") && strlen(sent.ptr) == sent.len);
    char first[64] = { 0 };
    CHECK(sscanf(strstr(sent.ptr, "\"messageId\":"), "\"messageId\":\"%63[^\"]", first) == 1);
    centralita_buf_free(&sent);

    /* By completion: the same key is the same message. */
    struct waiter waiter = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
    centralita_async later = CENTRALITA_ASYNC_INIT;
    centralita_op *op = NULL;
    later.user_data = &waiter;
    later.on_done = on_done;
    later.drop = waiter_drop;
    later.op = &op;
    OK(centralita_session_send(session, &message, &later, NULL, &err));
    CHECK(op != NULL);
    /* By waiting, too. */
    OK(centralita_op_wait(op, PATIENCE_MS, &err));
    CHECK(centralita_op_error(op) == NULL && centralita_op_text(op).len > 0);
    pthread_mutex_lock(&waiter.lock);
    while (waiter.drops == 0) {
        pthread_cond_wait(&waiter.changed, &waiter.lock);
    }
    pthread_mutex_unlock(&waiter.lock);
    CHECK(waiter.done == 1 && waiter.drops == 1 && waiter.status == CENTRALITA_OK);
    CHECK(strstr(waiter.text, first) && strstr(waiter.text, "\"repeated\":true"));
    centralita_op_free(&op);
    CHECK(op == NULL);

    /* The message by its key: reaction, edit, revoke. */
    char chat[128] = { 0 }, sender[128] = { 0 };
    CHECK(sscanf(strstr(waiter.text, "\"chatId\":"), "\"chatId\":\"%127[^\"]", chat) == 1);
    CHECK(sscanf(strstr(waiter.text, "\"sender\":"), "\"sender\":\"%127[^\"]", sender) == 1);
    centralita_message_key key = { centralita_cstr(chat), centralita_cstr(sender), centralita_cstr(first) };
    centralita_outgoing about = centralita_about(CENTRALITA_OUTGOING_REACTION, key, CENTRALITA_STR("\xF0\x9F\x91\x8D"));
    OK(centralita_session_send(session, &about, NULL, NULL, &err));
    about = centralita_about(CENTRALITA_OUTGOING_EDIT, key, CENTRALITA_STR("hola!"));
    OK(centralita_session_send(session, &about, NULL, NULL, &err));
    about = centralita_about(CENTRALITA_OUTGOING_REVOKE, key, CENTRALITA_STR(""));
    OK(centralita_session_send(session, &about, NULL, NULL, &err));
    OK(centralita_session_set_typing(session, centralita_cstr(contact), 1, NULL, &err));

    /* A failure by completion. The lock hands what was read above over to it. */
    pthread_mutex_lock(&waiter.lock);
    pthread_mutex_unlock(&waiter.lock);
    message.idempotency_key = CENTRALITA_STR("");
    OK(centralita_session_send(session, &message, &later, NULL, &err));
    STATUS(CENTRALITA_INVALID, centralita_op_wait(op, PATIENCE_MS, &err));
    CHECK(centralita_error_code(centralita_op_error(op)) == CENTRALITA_INVALID);
    pthread_mutex_lock(&waiter.lock);
    while (waiter.drops < 2) {
        pthread_cond_wait(&waiter.changed, &waiter.lock);
    }
    pthread_mutex_unlock(&waiter.lock);
    CHECK(waiter.done == 2 && waiter.status == CENTRALITA_INVALID);
    centralita_op_free(&op);

    /* Cancelled. */
    OK(centralita_session_wait_connected(session, PATIENCE_MS, &later, &err));
    OK(centralita_op_cancel(op, &err));
    int32_t status = centralita_op_wait(op, PATIENCE_MS, &err);
    CHECK(status == CENTRALITA_CANCELLED || status == CENTRALITA_OK);
    centralita_error_free(&err);
    centralita_op_free(&op);
    pthread_mutex_lock(&waiter.lock);
    while (waiter.drops < 3) {
        pthread_cond_wait(&waiter.changed, &waiter.lock);
    }
    pthread_mutex_unlock(&waiter.lock);
}

static void pull(centralita_service *service, const char *phone, const char *contact)
{
    centralita_error *err = NULL;
    centralita_subscription *subscription = NULL;
    centralita_str ids[1] = { CENTRALITA_STR("ventas") };
    centralita_sink sink = CENTRALITA_SINK_INIT;
    sink.overflow = CENTRALITA_OVERFLOW_WAIT;
    sink.session_ids = ids;
    sink.session_count = 1;
    OK(centralita_subscribe(service, &sink, &subscription, &err));
    centralita_event *event = NULL, *kept = NULL;
    STATUS(CENTRALITA_TIMEOUT, centralita_subscription_next(subscription, 0, &event, &err));
    CHECK(event == NULL);
    phone_sends(contact, phone, "uno");
    for (;;) {
        OK(centralita_subscription_next(subscription, PATIENCE_MS, &event, &err));
        if (centralita_event_type(event) == CENTRALITA_EVENT_MESSAGE) {
            break;
        }
        centralita_event_free(&event);
    }
    OK(centralita_event_clone(event, &kept, &err));
    centralita_event_free(&event);
    centralita_str text = centralita_event_text(kept), json = centralita_event_json(kept);
    CHECK(text.len == 3 && memcmp(text.ptr, "uno", 3) == 0);
    CHECK(centralita_event_sender_name(kept).len == 8);
    char copy[2048];
    snprintf(copy, sizeof copy, "%.*s", (int)json.len, json.ptr);
    CHECK(strstr(copy, "\"type\":\"message\"") && strstr(copy, "\"sessionId\":\"ventas\""));
    centralita_event_free(&kept);
    OK(centralita_subscription_close(subscription, &err));
    STATUS(CENTRALITA_END, centralita_subscription_next(subscription, -1, &event, &err));
    centralita_subscription_free(&subscription);
}

/* A message that waits while its session is stopped, and one that is taken back. */
static void outbox(centralita_session *session, const char *contact)
{
    centralita_error *err = NULL;
    centralita_buf json = CENTRALITA_BUF_INIT;
    char id[64] = { 0 };
    OK(centralita_session_stop(session, NULL, &err));
    centralita_outgoing message = centralita_text(centralita_cstr(contact), CENTRALITA_STR("later"));
    STATUS(CENTRALITA_INVALID_STATE, centralita_session_send(session, &message, NULL, NULL, &err));
    message.queue_ms = 60000;
    OK(centralita_session_send(session, &message, NULL, &json, &err));
    CHECK(strstr(json.ptr, "\"status\":\"queued\""));
    CHECK(sscanf(strstr(json.ptr, "\"messageId\":"), "\"messageId\":\"%63[^\"]", id) == 1);
    centralita_buf_free(&json);
    OK(centralita_session_outbox(session, centralita_cstr(NULL), NULL, &json, &err));
    CHECK(strstr(json.ptr, id) && strstr(json.ptr, "\"state\":\"queued\""));
    centralita_buf_free(&json);
    OK(centralita_session_cancel_queued(session, centralita_cstr(id), NULL, &err));
    STATUS(CENTRALITA_NOT_FOUND, centralita_session_cancel_queued(session, centralita_cstr(id), NULL, &err));
}

#define OLD_KEY "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define NEW_KEY "next:Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA="

static centralita_service *open_keyed(const char *store, const char *keys)
{
    centralita_error *err = NULL;
    centralita_config *config = test_config();
    centralita_service *service = NULL;
    OK(centralita_config_set(config, CENTRALITA_STR("keys"), centralita_cstr(keys), &err));
    OK(centralita_config_set(config, CENTRALITA_STR("sqlite_readers"), CENTRALITA_STR("1"), &err));
    OK(centralita_service_open(centralita_cstr(store), config, &service, &err));
    centralita_config_free(&config);
    return service;
}

/* A new master key: the old one is needed until every session is under the new one, and then no more. */
static void rotate(const char *store)
{
    centralita_error *err = NULL;
    centralita_buf json = CENTRALITA_BUF_INIT;
    centralita_session *session = NULL;
    centralita_service *service = open_keyed(store, NEW_KEY "," OLD_KEY);
    OK(centralita_service_rewrap_keys(service, NULL, &json, &err));
    CHECK(strstr(json.ptr, "\"rewrapped\":1") && strstr(json.ptr, "\"heldElsewhere\":[]"));
    centralita_buf_free(&json);
    OK(centralita_service_rewrap_keys(service, NULL, &json, &err));
    CHECK(strstr(json.ptr, "\"rewrapped\":0") && strstr(json.ptr, "\"alreadyCurrent\":1"));
    centralita_buf_free(&json);
    OK(centralita_service_shutdown(service, PATIENCE_MS, NULL, &err));
    centralita_service_free(&service);

    service = open_keyed(store, NEW_KEY);
    OK(centralita_session_create(service, CENTRALITA_STR("ventas"), NULL, &session, &err));
    OK(centralita_session_wait_connected(session, PATIENCE_MS, NULL, &err));
    OK(centralita_service_shutdown(service, PATIENCE_MS, NULL, &err));
    centralita_session_free(&session);
    centralita_service_free(&service);
}

struct kms {
    atomic_int wraps, unwraps, drops;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static bool is_context(centralita_str context)
{
    return (context.len == 3 && memcmp(context.ptr, "kms", 3) == 0) || context.ptr[0] == 0;
}

static int32_t kms_wrap(void *user_data, centralita_str context, const uint8_t *data_key, uint8_t *wrapped,
                        size_t capacity, size_t *len)
{
    struct kms *kms = user_data;
    CHECK(is_context(context) && capacity == CENTRALITA_WRAPPED_KEY_MAX);
    if (kms->wraps++ == 0) {
        return CENTRALITA_UNAVAILABLE; /* Asked again. */
    }
    for (int i = 0; i < CENTRALITA_DATA_KEY_LEN; i++) {
        wrapped[i] = data_key[i] ^ 0x5a;
    }
    *len = CENTRALITA_DATA_KEY_LEN;
    return CENTRALITA_OK;
}

static int32_t kms_unwrap(void *user_data, centralita_str context, const uint8_t *wrapped, size_t len,
                          uint8_t *data_key)
{
    ((struct kms *)user_data)->unwraps++;
    CHECK(is_context(context) && len == CENTRALITA_DATA_KEY_LEN);
    for (int i = 0; i < CENTRALITA_DATA_KEY_LEN; i++) {
        data_key[i] = wrapped[i] ^ 0x5a;
    }
    return CENTRALITA_OK;
}

static int32_t kms_refuses(void *user_data, centralita_str context, const uint8_t *wrapped, size_t len,
                           uint8_t *data_key)
{
    (void)user_data, (void)context, (void)wrapped, (void)len, (void)data_key;
    return CENTRALITA_CRYPTO;
}

static void kms_drop(void *user_data)
{
    struct kms *kms = user_data;
    pthread_mutex_lock(&kms->lock);
    kms->drops++;
    pthread_cond_broadcast(&kms->changed);
    pthread_mutex_unlock(&kms->lock);
}

/* Master keys in a service of the host's: away at first, then there after a restart, then refusing. */
static void key_provider(const char *phone)
{
    char path[256];
    struct kms kms = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
    centralita_key_provider provider = CENTRALITA_KEY_PROVIDER_INIT;
    centralita_error *err = NULL;
    centralita_session *session = NULL;
    snprintf(path, sizeof path, "%s/kms.db", temporary_folder());
    provider.user_data = &kms;
    provider.drop = kms_drop;
    provider.wrap = kms_wrap;
    centralita_config *config = test_config();
    STATUS(CENTRALITA_INVALID, centralita_config_set_key_provider(config, &provider, &err));
    CHECK(kms.drops == 1);
    centralita_config_free(&config);
    for (int start = 0; start < 3; start++) {
        centralita_service *service = NULL;
        config = test_config();
        provider.unwrap = start < 2 ? kms_unwrap : kms_refuses;
        OK(centralita_config_set_key_provider(config, &provider, &err));
        OK(centralita_service_open(centralita_cstr(path), config, &service, &err));
        centralita_config_free(&config);
        OK(centralita_session_create(service, CENTRALITA_STR("kms"), NULL, &session, &err));
        if (start == 0) {
            link_session(session, phone);
        } else if (start == 1) {
            OK(centralita_session_wait_connected(session, PATIENCE_MS, NULL, &err));
        } else {
            STATUS(CENTRALITA_CRYPTO, centralita_session_wait_connected(session, PATIENCE_MS, NULL, &err));
        }
        OK(centralita_service_shutdown(service, PATIENCE_MS, NULL, &err));
        centralita_session_free(&session);
        centralita_service_free(&service);
        pthread_mutex_lock(&kms.lock);
        while (kms.drops < start + 2) {
            pthread_cond_wait(&kms.changed, &kms.lock);
        }
        pthread_mutex_unlock(&kms.lock);
    }
    CHECK(kms.wraps >= 2 && kms.unwraps >= 1 && kms.drops == 4);
}

int main(int argc, char **argv)
{
    char phone[32], contact[32], path[256], answer[65536];
    const char *store = path;
    snprintf(path, sizeof path, "%s/centralita.db", temporary_folder());
    if (argc > 1) {
        store = argv[1];
    }
    add_phone("Ventas", phone, sizeof phone);
    add_phone("Clienta_", contact, sizeof contact);

    centralita_error *err = NULL;
    centralita_service *service = open_service(store);
    centralita_subscription *subscription = NULL;
    struct bot bot = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
    centralita_sink sink = CENTRALITA_SINK_INIT;
    sink.user_data = &bot;
    sink.on_event = on_event;
    sink.on_end = on_end;
    sink.drop = drop;

    OK(centralita_session_create(service, CENTRALITA_STR("ventas"), NULL, &bot.session, &err));
    OK(centralita_subscribe(service, &sink, &subscription, &err));
    link_session(bot.session, phone);
    int32_t status = 0;
    OK(centralita_session_status(bot.session, &status, &err));
    CHECK(status == CENTRALITA_STATUS_CONNECTED && centralita_session_is_connected(bot.session));

    phone_sends(contact, phone, "/ping");
    wait_messages(&bot, 1);
    CHECK(phone_receives(contact, 1, answer, sizeof answer) && strstr(answer, "pong"));
    pull(service, phone, contact);
    sends(bot.session, contact);

    centralita_buf json = CENTRALITA_BUF_INIT;
    OK(centralita_session_record(bot.session, NULL, &json, &err));
    CHECK(strstr(json.ptr, "\"status\":\"connected\"") && strstr(json.ptr, "\"messagesReceived\":2"));
    centralita_buf_free(&json);
    OK(centralita_session_messages(bot.session, CENTRALITA_STR("{\"limit\":1}"), NULL, &json, &err));
    CHECK(strstr(json.ptr, "\"next\":\""));
    centralita_buf_free(&json);
    OK(centralita_session_chats(bot.session, centralita_cstr(NULL), NULL, &json, &err));
    CHECK(strstr(json.ptr, "\"items\":[{"));
    centralita_buf_free(&json);
    OK(centralita_service_running_sessions(service, &json, &err));
    CHECK(strcmp(json.ptr, "[\"ventas\"]") == 0);
    centralita_buf_free(&json);

    OK(centralita_service_shutdown(service, PATIENCE_MS, NULL, &err));
    STATUS(CENTRALITA_CLOSED, centralita_session_record(bot.session, NULL, &json, &err));
    STATUS(CENTRALITA_CLOSED, centralita_service_shutdown(service, 0, NULL, &err));
    CHECK(!centralita_session_is_connected(bot.session));
    centralita_subscription_free(&subscription);
    CHECK(bot.drops == 1 && bot.ends <= 1);
    centralita_session_free(&bot.session);
    centralita_service_free(&service);

    /* What came meanwhile is received after a restart, without a QR code. */
    phone_sends(contact, phone, "dos");
    service = open_service(store);
    bot.messages = 0;
    bot.last_seq = 0;
    OK(centralita_subscribe(service, &sink, &subscription, &err));
    OK(centralita_service_restore(service, NULL, NULL, &json, &err));
    CHECK(strstr(json.ptr, "\"started\":[\"ventas\"]") && strstr(json.ptr, "\"notLinked\":[]"));
    centralita_buf_free(&json);
    OK(centralita_session_get(service, CENTRALITA_STR("ventas"), NULL, &bot.session, &err));
    OK(centralita_session_wait_connected(bot.session, PATIENCE_MS, NULL, &err));
    wait_messages(&bot, 1);

    outbox(bot.session, contact);

    /* The end by itself: on_end, then drop, once each. */
    OK(centralita_service_shutdown(service, PATIENCE_MS, NULL, &err));
    centralita_subscription_free(&subscription);
    CHECK(bot.drops == 2);
    centralita_session_free(&bot.session);
    centralita_service_free(&service);
    rotate(store);
    key_provider(phone);
    printf("life: ok\n");
    return 0;
}
