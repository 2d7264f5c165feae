/* libcentralita: WhatsApp sessions, hundreds to thousands in one process, their keys encrypted in MongoDB or SQLite.
 *
 * Made by cbindgen from ffi/src (CENTRALITA_BLESS=1 makes it anew). Do not edit.
 *
 * Rules
 *  1. A handle (`centralita_service *`, …) comes from this library, is used until it is freed, and is freed once: by
 *     `centralita_…_free(&handle)`, which sets it to NULL. NULL is answered with CENTRALITA_INVALID (getters: with
 *     nothing), and freed without effect. Freeing a handle that another thread is using is an error of the program.
 *     Freeing a service before its sessions and subscriptions is fine: each keeps what it needs.
 *  2. A function that can fail answers a status: CENTRALITA_OK is 0, CENTRALITA_END and CENTRALITA_PENDING are no
 *     errors, all others are. If `err` is not NULL, `*err` is then an error to be freed, else NULL; what was in it
 *     before is overwritten, not freed. After a failure an out-parameter holds NULL or nothing.
 *  3. All functions may be called from any thread at any time. A handle "of one thread at a time" says so.
 *  4. Strings go in as pointer and length and are checked; they are copied, and may be freed after the call. Text that
 *     comes back is UTF-8: a `centralita_buf` is the caller's to free, a `centralita_str` is borrowed from the handle
 *     that it was asked from.
 *  5. Times are milliseconds since the Unix epoch, durations milliseconds, in `…_ms`; sizes are bytes.
 *  6. A struct that is passed by pointer starts with its size: start from its …_INIT macro. A field that is added
 *     later is zero for a caller who does not know it.
 *  7. A function with a parameter `later` waits for the end if that is NULL; else see `centralita_async`.
 *  8. Functions of the caller run on threads of this library, must not unwind or longjmp, and their `user_data` is
 *     released exactly once by their `drop`, also if the call that took them fails.
 *  9. No panic leaves this library: it is answered with CENTRALITA_PANIC.
 * 10. After fork() the child can use nothing that the parent made (CENTRALITA_FORKED) but may free it, and may open
 *     a service of its own. At the end of the process callbacks stop before exit handlers registered earlier run.
 */


#ifndef CENTRALITA_H
#define CENTRALITA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(_MSC_VER) && !defined(__clang__)
#error "libcentralita is for Linux and macOS"
#endif


/**
 * Version of the ABI that this header describes: major << 16 | minor. A larger minor only adds.
 */
#define CENTRALITA_ABI_VERSION 1

/**
 * Version of the library that this header came with: major << 16 | minor << 8 | patch.
 */
#define CENTRALITA_VERSION_NUMBER 256

/**
 * The longest string or byte array that is taken, in bytes: 16 MiB. A longer one is `CENTRALITA_INVALID`.
 */
#define CENTRALITA_MAX_BYTES ((16 * 1024) * 1024)

/**
 * Done.
 */
#define CENTRALITA_OK 0

/**
 * No error: the stream has ended, nothing more will come.
 */
#define CENTRALITA_END 1

/**
 * No error: not done yet.
 */
#define CENTRALITA_PENDING 2

/**
 * An argument or an option is not acceptable. Nothing was changed. Mend the call.
 */
#define CENTRALITA_INVALID 10

/**
 * No such session, message or document. Nothing was changed.
 */
#define CENTRALITA_NOT_FOUND 11

/**
 * It is there already. Nothing was changed.
 */
#define CENTRALITA_ALREADY_EXISTS 12

/**
 * The call does not fit the present state. Bring the session into that state, then call again.
 */
#define CENTRALITA_INVALID_STATE 13

/**
 * The service was shut down. Open a new one.
 */
#define CENTRALITA_CLOSED 14

/**
 * The phone removed this device. Link it anew.
 */
#define CENTRALITA_LOGGED_OUT 20

/**
 * WhatsApp banned the account for a time. Wait for `centralita_error_retry_after_ms`.
 */
#define CENTRALITA_BANNED 21

/**
 * Another process or instance owns the session or the file. Nothing was written.
 */
#define CENTRALITA_CONFLICT 22

/**
 * Too much in too short a time. Call again after `centralita_error_retry_after_ms`.
 */
#define CENTRALITA_RATE_LIMITED 30

/**
 * A deadline passed. The outcome may be unknown; the message says if it is.
 */
#define CENTRALITA_TIMEOUT 31

/**
 * The caller cancelled it.
 */
#define CENTRALITA_CANCELLED 32

/**
 * The database or the network cannot be reached at present. Retry, or drop the operation.
 */
#define CENTRALITA_UNAVAILABLE 40

/**
 * The database refused the operation for good (rights, read-only, disk full, index conflict).
 */
#define CENTRALITA_STORE 41

/**
 * A stored document cannot be understood. Repair or delete the session that owns it.
 */
#define CENTRALITA_CORRUPT 42

/**
 * A key is missing, wrong or retired, or a sealed value was changed. Nothing was overwritten.
 */
#define CENTRALITA_CRYPTO 43

/**
 * WhatsApp answered in a way that the protocol does not allow, or refused the request.
 */
#define CENTRALITA_PROTOCOL 50

/**
 * A callback of the caller failed.
 */
#define CENTRALITA_CALLBACK 51

/**
 * Waiting here would never end: the call was made inside a callback. Call it from another thread.
 */
#define CENTRALITA_WOULD_DEADLOCK 80

/**
 * The process was forked and the handle is the parent's. Open a service of one's own in the child.
 */
#define CENTRALITA_FORKED 81

/**
 * A panic was caught. Only the session named was affected.
 */
#define CENTRALITA_PANIC 90

/**
 * A bug of this library. Please report it.
 */
#define CENTRALITA_INTERNAL 91

/**
 * Room for a wrapped data key, in bytes.
 */
#define CENTRALITA_WRAPPED_KEY_MAX 16384

/**
 * Bytes of a data key.
 */
#define CENTRALITA_DATA_KEY_LEN 32

/**
 * Sessions connect as they should.
 */
#define CENTRALITA_BREAKER_CLOSED 1

/**
 * WhatsApp refused many sessions at once: nobody connects before `paused_until_ms`, then one tries.
 */
#define CENTRALITA_BREAKER_OPEN 2

/**
 * One tries, or the others follow slowly.
 */
#define CENTRALITA_BREAKER_HALF_OPEN 3

/**
 * Created, or starting; no code yet.
 */
#define CENTRALITA_STATUS_PENDING 1

/**
 * A QR code, a pair code or a passkey challenge waits for the user.
 */
#define CENTRALITA_STATUS_QR_READY 2

/**
 * Logged in.
 */
#define CENTRALITA_STATUS_CONNECTED 3

/**
 * Not connected: stopped, or waiting for the next attempt.
 */
#define CENTRALITA_STATUS_DISCONNECTED 4

/**
 * It needs somebody: logged out, banned, outdated, or broken.
 */
#define CENTRALITA_STATUS_ERROR 5

/**
 * Put away: not restored at start.
 */
#define CENTRALITA_STATUS_INACTIVE 6

/**
 * As it should be.
 */
#define CENTRALITA_VITAL_GOOD 1

/**
 * Nothing can be said while there is no connection.
 */
#define CENTRALITA_VITAL_UNKNOWN 2

/**
 * It may be about to fail; being looked into.
 */
#define CENTRALITA_VITAL_SUSPECT 3

/**
 * It does not work.
 */
#define CENTRALITA_VITAL_BAD 4

/**
 * Show `centralita_link_step_text` as a QR code, see `centralita_qr_render`. It replaces any earlier one.
 */
#define CENTRALITA_LINK_QR 1

/**
 * Show `centralita_link_step_text` to be typed on the phone.
 */
#define CENTRALITA_LINK_PAIR_CODE 2

/**
 * Have an authenticator sign `centralita_link_step_text` (WebAuthn's `PublicKeyCredentialRequestOptions` as JSON),
 * then call `centralita_session_answer_passkey`.
 */
#define CENTRALITA_LINK_PASSKEY_CHALLENGE 3

/**
 * Have the user compare `centralita_link_step_text` with the phone's code if `centralita_link_step_must_compare`, then
 * call `centralita_session_confirm_passkey`.
 */
#define CENTRALITA_LINK_PASSKEY_CONFIRMATION 4

/**
 * The session is linked and connected. The last step.
 */
#define CENTRALITA_LINK_LINKED 5

/**
 * Nobody used a code in time. The last step; start the session for new codes.
 */
#define CENTRALITA_LINK_TIMED_OUT 6

/**
 * It did not work: see `centralita_link_step_error`. The last step.
 */
#define CENTRALITA_LINK_FAILED 7

/**
 * Lines of half blocks for a terminal. `scale` is not used.
 */
#define CENTRALITA_QR_TERMINAL 1

/**
 * An SVG picture. `scale` is not used.
 */
#define CENTRALITA_QR_SVG 2

/**
 * A PNG picture, `scale` pixels a module (1 to 64).
 */
#define CENTRALITA_QR_PNG 3

/**
 * `text` to `to`.
 */
#define CENTRALITA_OUTGOING_TEXT 1

/**
 * `text` in answer to `target`, in its chat.
 */
#define CENTRALITA_OUTGOING_REPLY 2

/**
 * The emoji in `text` on `target`; an empty one takes it back.
 */
#define CENTRALITA_OUTGOING_REACTION 3

/**
 * `text` as the new text of `target`, a message of one's own.
 */
#define CENTRALITA_OUTGOING_EDIT 4

/**
 * Takes `target` back for everybody.
 */
#define CENTRALITA_OUTGOING_REVOKE 5

/**
 * The session's status or its detail changed: `centralita_event_status`, the detail in the JSON.
 */
#define CENTRALITA_EVENT_STATUS 1

/**
 * A code waits to be scanned or typed: `centralita_event_code` has a QR code's text. A secret: do not log it.
 */
#define CENTRALITA_EVENT_CODE 2

/**
 * A message came in, or was written on another device of the account. It is stored already.
 */
#define CENTRALITA_EVENT_MESSAGE 3

/**
 * A stored message changed: its status rose, it was edited or taken back.
 */
#define CENTRALITA_EVENT_MESSAGE_CHANGED 4

/**
 * A contact types in a chat, or stopped.
 */
#define CENTRALITA_EVENT_TYPING 5

/**
 * A contact came online or left.
 */
#define CENTRALITA_EVENT_PRESENCE 6

/**
 * A part of the phone's history was stored.
 */
#define CENTRALITA_EVENT_HISTORY 7

/**
 * A message could not be decrypted; WhatsApp was asked to send it again.
 */
#define CENTRALITA_EVENT_UNDECRYPTABLE 8

/**
 * A task of this session panicked. The session is restarted; others are not affected.
 */
#define CENTRALITA_EVENT_PANICKED 9

/**
 * This subscription was too slow: `centralita_event_dropped` events were dropped just before this one.
 */
#define CENTRALITA_EVENT_LAGGED 10

/**
 * A message that waited in the outbox has come to its end; its outcome is in the JSON.
 */
#define CENTRALITA_EVENT_OUTBOX_ENDED 11

/**
 * The bounds of the log cut off `centralita_event_dropped` events that this durable consumer had not read.
 */
#define CENTRALITA_EVENT_MISSED 12

/**
 * The session was connected but did not work, and is restarted; what was wrong is in the JSON.
 */
#define CENTRALITA_EVENT_RESTARTED 13

/**
 * The oldest event goes; a `CENTRALITA_EVENT_LAGGED` in its place says how many went. The default.
 */
#define CENTRALITA_OVERFLOW_DROP_OLDEST 0

/**
 * The session waits, and after it WhatsApp: nothing is dropped, but a consumer that hangs holds up its sessions.
 */
#define CENTRALITA_OVERFLOW_WAIT 1

/**
 * The subscription ends with `CENTRALITA_RATE_LIMITED`.
 */
#define CENTRALITA_OVERFLOW_CLOSE 2

/**
 * Something is broken and somebody must look.
 */
#define CENTRALITA_LOG_ERROR 1

/**
 * Something is wrong but was dealt with.
 */
#define CENTRALITA_LOG_WARN 2

/**
 * What happens in the large.
 */
#define CENTRALITA_LOG_INFO 3

/**
 * What happens in the small; it may name phone numbers.
 */
#define CENTRALITA_LOG_DEBUG 4

/**
 * Everything.
 */
#define CENTRALITA_LOG_TRACE 5

/**
 * The cleanup of a service. Opaque, thread-safe. It ends when it is stopped or freed.
 */
typedef struct centralita_cleanup centralita_cleanup;

/**
 * Options of a service. Opaque; used by one thread at a time.
 */
typedef struct centralita_config centralita_config;

/**
 * A consumer of durable events that is open here, and nowhere else. Opaque, thread-safe.
 */
typedef struct centralita_consumer centralita_consumer;

/**
 * What happened, to what, and what to do. Opaque; NULL means that there is none. Free it with
 * `centralita_error_free`, unless its documentation says that it is borrowed. It never holds a secret, a message
 * text or a phone number.
 */
typedef struct centralita_error centralita_error;

/**
 * One event of one session. Opaque, unchangeable, thread-safe. What its getters give is borrowed from it.
 */
typedef struct centralita_event centralita_event;

/**
 * The steps of a link. Opaque; one thread at a time.
 */
typedef struct centralita_link centralita_link;

/**
 * One step of a link. Opaque.
 */
typedef struct centralita_link_step centralita_link_step;

/**
 * An operation that was started with a `centralita_async`. Opaque, thread-safe.
 */
typedef struct centralita_op centralita_op;

/**
 * Holds sessions. Opaque, thread-safe, shared by the handles that are made from it.
 */
typedef struct centralita_service centralita_service;

/**
 * One session. Opaque, thread-safe; it holds nothing open but its service. Free it with `centralita_session_free`.
 */
typedef struct centralita_session centralita_session;

/**
 * A subscription. Opaque, thread-safe.
 */
typedef struct centralita_subscription centralita_subscription;

/**
 * Owned bytes or UTF-8 text. `ptr[len]` is 0, so that text without NUL inside can be used as a C string. Free it with
 * `centralita_buf_free`.
 */
typedef struct {
    /**
     * The first byte; NULL if there is nothing.
     */
    char *ptr;
    /**
     * Bytes, without the 0 at the end.
     */
    size_t len;
    /**
     * For the library.
     */
    size_t cap;
} centralita_buf;

/**
 * A borrowed string: UTF-8, `len` bytes, no NUL at the end. `{NULL, 0}` stands for "none". Make one with
 * `CENTRALITA_STR("literal")` or `centralita_cstr(pointer)`.
 */
typedef struct {
    /**
     * The first byte.
     */
    const char *ptr;
    /**
     * Bytes.
     */
    size_t len;
} centralita_str;

/**
 * Wraps and unwraps the data keys of sessions with a master key that the library never sees. Start from
 * `CENTRALITA_KEY_PROVIDER_INIT`.
 *
 * The functions are called on threads of the library, several at once, and may block. Each answers `CENTRALITA_OK`;
 * `CENTRALITA_UNAVAILABLE` or `CENTRALITA_TIMEOUT` if it cannot be reached, and is then asked again while the session
 * waits; anything else is a refusal, which ends the session. They must not call back into the library. `context` is a
 * session's id, or, for the key of what all sessions share, bytes that begin with a zero.
 */
typedef struct {
    /**
     * `sizeof(centralita_key_provider)`.
     */
    uint32_t struct_size;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * Given to the functions below.
     */
    void *user_data;
    /**
     * Wraps the `CENTRALITA_DATA_KEY_LEN` bytes at `data_key`, bound to `context`: writes at most `capacity`
     * (`CENTRALITA_WRAPPED_KEY_MAX`) bytes to `wrapped` and their number to `len`.
     */
    int32_t (*wrap)(void *user_data,
                    centralita_str context,
                    const uint8_t *data_key,
                    uint8_t *wrapped,
                    size_t capacity,
                    size_t *len);
    /**
     * Writes to `data_key` the `CENTRALITA_DATA_KEY_LEN` bytes that `wrap` was given with this `context`, now or
     * under an older master key.
     */
    int32_t (*unwrap)(void *user_data,
                      centralita_str context,
                      const uint8_t *wrapped,
                      size_t len,
                      uint8_t *data_key);
    /**
     * 1 if `wrapped` was made with the current master key, 0 if `centralita_service_rewrap_keys` is to renew it. NULL:
     * always 1.
     */
    int32_t (*is_current)(void *user_data, const uint8_t *wrapped, size_t len);
    /**
     * Releases `user_data`: called exactly once, after the last call, or at once if setting the provider fails. May be
     * NULL.
     */
    void (*drop)(void *user_data);
} centralita_key_provider;

/**
 * How a call ends later instead of waiting here. Start from `CENTRALITA_ASYNC_INIT`.
 *
 * With it a function checks its arguments, starts, and answers `CENTRALITA_OK` at once; its other out-parameters are
 * left alone (pass NULL), and the result is in the operation.
 */
typedef struct {
    /**
     * `sizeof(centralita_async)`.
     */
    uint32_t struct_size;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * Given to the two functions below. They may be called on another thread than this one.
     */
    void *user_data;
    /**
     * Called once when the operation has ended, whatever its end, on the service's completion thread, one at a time.
     * `op` is borrowed for the time of the call. May be NULL.
     */
    void (*on_done)(void *user_data, const centralita_op *op);
    /**
     * Releases `user_data`: called exactly once, after `on_done`, or at once if the call fails. May be NULL.
     */
    void (*drop)(void *user_data);
    /**
     * Where to put a handle to wait with or to cancel; free it with `centralita_op_free`. May be NULL.
     */
    centralita_op **op;
} centralita_async;

/**
 * How the sessions of this process do. Start from `CENTRALITA_SERVICE_FIGURES_INIT`.
 */
typedef struct {
    /**
     * `sizeof(centralita_service_figures)`.
     */
    uint32_t struct_size;
    /**
     * `CENTRALITA_BREAKER_…`.
     */
    int32_t breaker;
    /**
     * When the fleet's pause ends, in milliseconds since the Unix epoch; -1 if there is none.
     */
    int64_t paused_until_ms;
    /**
     * Sessions that run here, connected or not.
     */
    uint64_t running;
    /**
     * Of them logged in at this moment.
     */
    uint64_t connected;
    /**
     * Of them parked: not connected on purpose.
     */
    uint64_t parked;
    /**
     * Of those connected, how many receive or send badly, or are suspected to, by the last look at them.
     */
    uint64_t unwell;
    /**
     * How often those that run were restarted because they were not well.
     */
    uint64_t restarts;
    /**
     * Sessions that wait for their turn to connect.
     */
    uint64_t waiting;
    /**
     * Sessions that are connecting.
     */
    uint64_t connecting;
    /**
     * Connections begun since the service was opened.
     */
    uint64_t admitted;
    /**
     * How often the breaker has opened since the service was opened.
     */
    uint64_t times_opened;
} centralita_service_figures;

/**
 * How far a restore has come. It may grow at its end: read it through the pointer, do not copy it.
 */
typedef struct {
    /**
     * Sessions to start in all.
     */
    uint64_t total;
    /**
     * Of them looked at so far.
     */
    uint64_t done;
    /**
     * Started and connected so far; only `centralita_service_restore_and_wait` counts them.
     */
    uint64_t connected;
    /**
     * Started and ended already: logged out, banned, outdated, owned elsewhere. Counted as `connected`.
     */
    uint64_t ended;
    /**
     * The one that the step is about.
     */
    centralita_str session_id;
} centralita_restore_step;

/**
 * How a restore goes on. Start from `CENTRALITA_PROGRESS_INIT`.
 */
typedef struct {
    /**
     * `sizeof(centralita_progress)`.
     */
    uint32_t struct_size;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * Given to the two functions below, which are called on the service's completion thread.
     */
    void *user_data;
    /**
     * Called for each step, which is borrowed for the time of the call.
     */
    void (*on_progress)(void *user_data, const centralita_restore_step *step);
    /**
     * Releases `user_data`: called exactly once, after the last progress, or at once if the call fails. May be NULL.
     */
    void (*drop)(void *user_data);
} centralita_progress;

/**
 * Names a message within a session: `centralita_event_message_key` gives it, replies and the like take it.
 */
typedef struct {
    /**
     * JID of the chat.
     */
    centralita_str chat_id;
    /**
     * JID of the author.
     */
    centralita_str sender;
    /**
     * WhatsApp's message id.
     */
    centralita_str message_id;
} centralita_message_key;

/**
 * A message to send. Start from `CENTRALITA_OUTGOING_INIT`, or from `centralita_text` and its siblings at the end of
 * this header.
 */
typedef struct {
    /**
     * `sizeof(centralita_outgoing)`.
     */
    uint32_t struct_size;
    /**
     * `CENTRALITA_OUTGOING_…`; it says which of the fields below are used.
     */
    int32_t kind;
    /**
     * A phone number in international form, or the JID of a contact or group.
     */
    centralita_str to;
    /**
     * Up to 65,536 bytes.
     */
    centralita_str text;
    /**
     * The message that it is about.
     */
    centralita_message_key target;
    /**
     * Fixes the message's id: a send with the same key in the same session is the same message, however often and from
     * whichever process it is repeated. 1 to 256 bytes; `{NULL, 0}` for none.
     */
    centralita_str idempotency_key;
    /**
     * How long to wait for WhatsApp's acknowledgement, in milliseconds; 0: the service's `send_timeout_ms`.
     */
    int64_t timeout_ms;
    /**
     * If it cannot be sent now, it waits in the session's outbox for as long as this (milliseconds, at most 30 days), and
     * the call answers at once with status `queued`; its end is a `CENTRALITA_EVENT_OUTBOX_ENDED`. 0: it does not wait.
     */
    int64_t queue_ms;
    /**
     * The same until a moment, in milliseconds since the Unix epoch; 0: see `queue_ms`. Not both.
     */
    int64_t queue_until_ms;
} centralita_outgoing;

/**
 * The main figures of a session's health. Start from `CENTRALITA_SESSION_FIGURES_INIT`.
 */
typedef struct {
    /**
     * `sizeof(centralita_session_figures)`.
     */
    uint32_t struct_size;
    /**
     * The connection to WhatsApp, `CENTRALITA_VITAL_…`.
     */
    int32_t link;
    /**
     * Whether anything comes in, `CENTRALITA_VITAL_…`.
     */
    int32_t receive;
    /**
     * Whether what is written is acknowledged, `CENTRALITA_VITAL_…`.
     */
    int32_t send;
    /**
     * 1 if it is parked.
     */
    int32_t parked;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * How often it was restarted because it was not well, since it was started.
     */
    uint64_t restarts;
    /**
     * Bytes that its engine and socket take, by the engine's own report; -1 while there is no engine.
     */
    int64_t memory_bytes;
} centralita_session_figures;

/**
 * What a subscription wants and where it goes. Start from `CENTRALITA_SINK_INIT`.
 *
 * The functions are called on a thread of this sink's own, one call at a time, in the order of the events. They may
 * call every function of this header, `centralita_subscription_free` of their own subscription included, but must not
 * unwind, `longjmp` or end the thread. What waits without end is refused there with `CENTRALITA_WOULD_DEADLOCK`.
 */
typedef struct {
    /**
     * `sizeof(centralita_sink)`.
     */
    uint32_t struct_size;
    /**
     * Events that wait at most; 0: 1,024. At most 1,000,000.
     */
    uint32_t capacity;
    /**
     * `CENTRALITA_OVERFLOW_…`: what happens beyond that.
     */
    int32_t overflow;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * Given to the functions below.
     */
    void *user_data;
    /**
     * Takes an event, which is valid during the call. NULL: take them with `centralita_subscription_next`.
     */
    void (*on_event)(void *user_data, const centralita_event *event);
    /**
     * Called once after the last event if the subscription ended by itself: `error` is NULL if the service was shut
     * down, else why, borrowed. Not called after `centralita_subscription_free`. May be NULL.
     */
    void (*on_end)(void *user_data, const centralita_error *error);
    /**
     * Releases `user_data`: called exactly once, after the last call of the others, also if subscribing fails (but
     * not if `struct_size` is wrong: then nothing is known of it, nor when the process ends). May be NULL.
     */
    void (*drop)(void *user_data);
    /**
     * Ids of the sessions whose events are wanted; NULL: all.
     */
    const centralita_str *session_ids;
    /**
     * How many; 0: all.
     */
    size_t session_count;
} centralita_sink;

/**
 * Who handles the events of a consumer. Start from `CENTRALITA_HANDLER_INIT`.
 */
typedef struct {
    /**
     * `sizeof(centralita_handler)`.
     */
    uint32_t struct_size;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * Given to the two functions below.
     */
    void *user_data;
    /**
     * Handles an event, which is valid during the call; `attempt` counts from 1. 0: it is done with, and does not come
     * again once that is stored. Anything else is a failure: it is called again after a pause, the later events of
     * that session wait, and after the last attempt the event becomes a dead letter that says `handler answered N`.
     * Called on a thread of this handler's own, one call at a time.
     */
    int32_t (*on_event)(void *user_data, const centralita_event *event, uint32_t attempt);
    /**
     * Releases `user_data`: called exactly once, after the last call of `on_event`, or at once if the call fails. May
     * be NULL.
     */
    void (*drop)(void *user_data);
} centralita_handler;

/**
 * Where logs go. Start from `CENTRALITA_LOG_SINK_INIT`.
 */
typedef struct {
    /**
     * `sizeof(centralita_log_sink)`.
     */
    uint32_t struct_size;
    /**
     * `CENTRALITA_LOG_…`: the most detailed level that is wanted. 0: `CENTRALITA_LOG_INFO`.
     */
    int32_t level;
    /**
     * Given to the two functions below.
     */
    void *user_data;
    /**
     * Takes a line: its level, the part of the library that logged it, the text. Called on a thread of this sink's
     * own, one call at a time; both strings are borrowed for the time of the call. If it is slower than the logs,
     * lines are left out, and a line says how many.
     */
    void (*on_log)(void *user_data, int32_t level, centralita_str target, centralita_str message);
    /**
     * Releases `user_data`: called exactly once, as for `centralita_sink`. May be NULL.
     */
    void (*drop)(void *user_data);
} centralita_log_sink;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The ABI version of the library that is loaded. Compare with `CENTRALITA_ABI_VERSION`: the major part must be the
 * same, the minor part at least as large.
 */
uint32_t centralita_abi_version(void);

/**
 * The version of the library that is loaded, as `CENTRALITA_VERSION_NUMBER`.
 */
uint32_t centralita_version_number(void);

/**
 * The same in words, such as `centralita/0.1.0`. Static: never free it.
 */
const char *centralita_version(void);

/**
 * Frees what a buffer holds and empties it. NULL is fine, twice is fine.
 */
void centralita_buf_free(centralita_buf *buf);

/**
 * Its status code, `CENTRALITA_OK` if `error` is NULL.
 */
int32_t centralita_error_code(const centralita_error *error);

/**
 * The name of its code in snake case, such as `rate_limited`. Borrowed from `error`; empty if NULL.
 */
centralita_str centralita_error_kind(const centralita_error *error);

/**
 * What happened, to what, and what to do: one line for people. Borrowed from `error`; empty if NULL.
 */
centralita_str centralita_error_message(const centralita_error *error);

/**
 * The id of the session that it happened to. Borrowed from `error`; `{NULL, 0}` if it concerns none.
 */
centralita_str centralita_error_session(const centralita_error *error);

/**
 * The operation that failed, such as `send`. Borrowed from `error`; `{NULL, 0}` if not known.
 */
centralita_str centralita_error_operation(const centralita_error *error);

/**
 * Whether the same call may succeed later with no change by the caller.
 */
bool centralita_error_is_retryable(const centralita_error *error);

/**
 * Milliseconds to wait before the next try; -1 if that is not known.
 */
int64_t centralita_error_retry_after_ms(const centralita_error *error);

/**
 * Frees an error and sets `*error` to NULL. NULL is fine, twice is fine.
 */
void centralita_error_free(centralita_error **error);

/**
 * Makes a set of options with every default.
 */
int32_t centralita_config_new(centralita_config **out, centralita_error **err);

/**
 * Sets an option. `CENTRALITA_INVALID` if there is no such option or the value cannot be read; whether a number is
 * in its range is checked by `centralita_service_open`. `centralita_config_option` lists them all.
 */
int32_t centralita_config_set(centralita_config *config,
                              centralita_str name,
                              centralita_str value,
                              centralita_error **err);

/**
 * Tells the name and the meaning of the option number `index`, from 0. `CENTRALITA_END` beyond the last. Both strings
 * are static. Each of `name` and `help` may be NULL.
 */
int32_t centralita_config_option(size_t index,
                                 centralita_str *name,
                                 centralita_str *help);

/**
 * Frees options and sets `*config` to NULL. NULL is fine, twice is fine.
 */
void centralita_config_free(centralita_config **config);

/**
 * Has a provider of the host's hold the master keys, in the place of the options `keys` and `key_file`. It is released
 * with the service, or with `config` if no service is opened with it.
 */
int32_t centralita_config_set_key_provider(centralita_config *config,
                                           const centralita_key_provider *provider,
                                           centralita_error **err);

/**
 * Opens a service: connects to the store, checks the keys, starts the threads. No session is started: see
 * `centralita_service_restore` and `centralita_session_create`.
 *
 * `store` is a path of an SQLite file (made if absent), a URI `mongodb://…`, or `memory:` (gone at the end, for
 * tests). `config` may be NULL. Keys: see the options `keys` and `key_file`. Blocks until the store answers.
 *
 * Errors: `CENTRALITA_INVALID` (an option), `CENTRALITA_CRYPTO` (no key), `CENTRALITA_CONFLICT` (the file is open
 * elsewhere), `CENTRALITA_UNAVAILABLE`, `CENTRALITA_STORE`, `CENTRALITA_CORRUPT`.
 */
int32_t centralita_service_open(centralita_str store,
                                centralita_config *config,
                                centralita_service **out,
                                centralita_error **err);

/**
 * Ends the service: stops all sessions within `patience_ms`, releases them, closes the store. What was received is
 * stored and acknowledged; what was not, WhatsApp delivers again. From then on every call on the service and its
 * sessions answers `CENTRALITA_CLOSED`, and subscriptions end once what is queued was taken. Free the handles too.
 *
 * `CENTRALITA_TIMEOUT` if some sessions did not end in time: they were cut off, and the service is closed all the same.
 * Blocks, unless `later` is given.
 */
int32_t centralita_service_shutdown(const centralita_service *service,
                                    int64_t patience_ms,
                                    const centralita_async *later,
                                    centralita_error **err);

/**
 * Drops this handle and sets `*service` to NULL. Never blocks; allowed in callbacks. The service ends when its last
 * handle is freed and its last operation has ended; without a shutdown before, its sessions are cut off, and other
 * instances wait until their leases have run out. NULL is fine, twice is fine.
 */
void centralita_service_free(centralita_service **service);

/**
 * The name of this instance in the leases. Borrowed from `service`.
 */
centralita_str centralita_service_instance_id(const centralita_service *service);

/**
 * The kind of store, such as `sqlite` or `mongodb`. Static.
 */
centralita_str centralita_service_store_name(const centralita_service *service);

/**
 * The ids of the sessions that run in this process, connected or not, as a JSON array.
 */
int32_t centralita_service_running_sessions(const centralita_service *service,
                                            centralita_buf *out,
                                            centralita_error **err);

/**
 * The health of the sessions that run in this process, as JSON: `{"running","connected","parked","unwell","restarts",
 * "pacing":{"breaker":"closed"|"open"|"half_open","pausedUntil":date,"waiting","connecting","admitted","timesOpened"}}`.
 * It never waits. The same without JSON: `centralita_service_get_figures`. Of one session:
 * `centralita_session_health`.
 */
int32_t centralita_service_health(const centralita_service *service,
                                  centralita_buf *out,
                                  centralita_error **err);

/**
 * Fills in how the sessions of this process do. It never waits.
 */
int32_t centralita_service_get_figures(const centralita_service *service,
                                       centralita_service_figures *out,
                                       centralita_error **err);

/**
 * Starts every stored session that is active and was linked, the most recently active first. Ends once all are
 * started; they connect a few at a time. One that cannot be started is in the report and holds up no other; one that
 * another instance runs stands by here.
 *
 * Gives JSON `{"started":[ids],"connected":[],"notLinked":[ids],"malformed":[ids]}`. `progress`, `later` and `out` may
 * be NULL. With `progress` and without `later` it must not be called inside a callback.
 */
int32_t centralita_service_restore(const centralita_service *service,
                                   const centralita_progress *progress,
                                   const centralita_async *later,
                                   centralita_buf *out,
                                   centralita_error **err);

/**
 * As `centralita_service_restore`, and then waits until every session that was started is connected or has ended, or
 * `patience_ms` is over. `progress` is told of each; those that wait for their turn, for WhatsApp or for another
 * instance go on after this has ended. `connected` in the report has those that are, in the order in which they were.
 * Inside a callback it must be given `later`.
 */
int32_t centralita_service_restore_and_wait(const centralita_service *service,
                                            int64_t patience_ms,
                                            const centralita_progress *progress,
                                            const centralita_async *later,
                                            centralita_buf *out,
                                            centralita_error **err);

/**
 * Wraps the data key of every stored session with the primary master key. To rotate: open the services with the new key
 * first in the option `keys` and the old one behind it, call this until nothing is `heldElsewhere` or `failed`, then
 * leave the old key out. It may be repeated at any time; sessions that another instance runs are not touched, that
 * instance renews them itself when it next opens them with the new key.
 *
 * Gives JSON `{"rewrapped","alreadyCurrent","heldElsewhere":[ids],"failed":[{"sessionId","kind","message"}]}`. `later`
 * and `out` may be NULL. `CENTRALITA_INVALID` if encryption is off.
 */
int32_t centralita_service_rewrap_keys(const centralita_service *service,
                                       const centralita_async *later,
                                       centralita_buf *out,
                                       centralita_error **err);

/**
 * Waits until an operation has ended and answers as the call would have done that waits. `CENTRALITA_PENDING` if it
 * has not ended within `timeout_ms` (negative: for ever; 0: only looks). Any number of threads may wait. Inside a
 * callback only 0 is allowed.
 */
int32_t centralita_op_wait(const centralita_op *op,
                           int64_t timeout_ms,
                           centralita_error **err);

/**
 * How an operation ended; `CENTRALITA_PENDING` if it has not.
 */
int32_t centralita_op_status(const centralita_op *op);

/**
 * Why an operation failed: borrowed from `op`. NULL if it has not failed or not ended.
 */
const centralita_error *centralita_op_error(const centralita_op *op);

/**
 * The text or JSON that an operation gave: what the call that waits puts into its buffer. Borrowed from `op`.
 * `{NULL, 0}` if there is none or it has not ended.
 */
centralita_str centralita_op_text(const centralita_op *op);

/**
 * A new handle on the session that an operation gave. `CENTRALITA_INVALID_STATE` if it gave none or has not ended.
 */
int32_t centralita_op_session(const centralita_op *op,
                              const centralita_service *service,
                              centralita_session **out,
                              centralita_error **err);

/**
 * A new handle on the consumer that an operation opened. `CENTRALITA_INVALID_STATE` if it gave none or has not ended.
 */
int32_t centralita_op_consumer(const centralita_op *op,
                               const centralita_service *service,
                               centralita_consumer **out,
                               centralita_error **err);

/**
 * Asks an operation to end at once. It ends with `CENTRALITA_CANCELLED`, or as it would have if it was quicker.
 * A message that is being sent goes on: WhatsApp may have it already.
 */
int32_t centralita_op_cancel(const centralita_op *op,
                             centralita_error **err);

/**
 * Frees the handle and sets `*op` to NULL; the operation goes on and its completion still comes. NULL is fine, twice
 * is fine.
 */
void centralita_op_free(centralita_op **op);

/**
 * Registers a session and starts it. One that exists is started with its credentials; one that runs already is simply
 * given: there is never a second socket. `session_id`: 1 to 128 bytes of letters and digits of any script and
 * `-_.:@+`. `out` may be NULL.
 */
int32_t centralita_session_create(const centralita_service *service,
                                  centralita_str session_id,
                                  const centralita_async *later,
                                  centralita_session **out,
                                  centralita_error **err);

/**
 * Starts a stored session. `CENTRALITA_NOT_FOUND` if it was never created; a running one is simply given. `out` may be
 * NULL.
 */
int32_t centralita_session_start(const centralita_service *service,
                                 centralita_str session_id,
                                 const centralita_async *later,
                                 centralita_session **out,
                                 centralita_error **err);

/**
 * A handle on a stored session, running or not. `CENTRALITA_NOT_FOUND` if there is none.
 */
int32_t centralita_session_get(const centralita_service *service,
                               centralita_str session_id,
                               const centralita_async *later,
                               centralita_session **out,
                               centralita_error **err);

/**
 * Its id. Borrowed from `session`.
 */
centralita_str centralita_session_id(const centralita_session *session);

/**
 * Frees the handle, not the session, and sets `*session` to NULL. NULL is fine, twice is fine.
 */
void centralita_session_free(centralita_session **session);

/**
 * The codes to link it with, as they come, then one last step: take them with `centralita_link_next`. A session that
 * is linked already ends with `CENTRALITA_LINK_LINKED` once it is connected. `CENTRALITA_INVALID_STATE` if it does not
 * run here.
 */
int32_t centralita_session_link(const centralita_session *session,
                                centralita_link **out,
                                centralita_error **err);

/**
 * Asks WhatsApp for a code to type on the phone with this number, instead of the QR code. Gives the eight characters.
 */
int32_t centralita_session_request_pair_code(const centralita_session *session,
                                             centralita_str phone_number,
                                             const centralita_async *later,
                                             centralita_buf *out,
                                             centralita_error **err);

/**
 * Answers a passkey challenge with what the authenticator gave: WebAuthn's assertion as JSON, and the raw id of the
 * credential.
 */
int32_t centralita_session_answer_passkey(const centralita_session *session,
                                          centralita_str assertion_json,
                                          const uint8_t *credential_id,
                                          size_t credential_id_len,
                                          const centralita_async *later,
                                          centralita_error **err);

/**
 * Says that the code of the phone and of this device are the same.
 */
int32_t centralita_session_confirm_passkey(const centralita_session *session,
                                           const centralita_async *later,
                                           centralita_error **err);

/**
 * Waits until it is connected, `patience_ms` at most (`CENTRALITA_TIMEOUT` then); an end of the session is an error.
 * Inside a callback it must be given `later`.
 */
int32_t centralita_session_wait_connected(const centralita_session *session,
                                          int64_t patience_ms,
                                          const centralita_async *later,
                                          centralita_error **err);

/**
 * Sends a message and waits until WhatsApp's server has it. Gives JSON
 * `{"chatId":…,"sender":…,"messageId":…,"status":"sent","timestamp":…,"repeated":false}`; `out` may be NULL. Allowed in
 * callbacks.
 *
 * `CENTRALITA_INVALID_STATE` if the session is not connected (nothing is stored then), `CENTRALITA_PROTOCOL` or
 * `CENTRALITA_RATE_LIMITED` if WhatsApp refused, `CENTRALITA_TIMEOUT` if it said nothing in time: then the message may
 * or may not arrive, and sending it again with the same idempotency key makes sure. `CENTRALITA_RATE_LIMITED` or
 * `CENTRALITA_BANNED` with a time to wait also come from the service's own limits; then nothing is stored or sent.
 *
 * With `queue_ms` or `queue_until_ms` in the message, what cannot be sent now waits in the outbox instead, and the
 * status is `queued`.
 */
int32_t centralita_session_send(const centralita_session *session,
                                const centralita_outgoing *message,
                                const centralita_async *later,
                                centralita_buf *out,
                                centralita_error **err);

/**
 * Tells the author of received messages that they were read, and sets the chat's unread count to 0. All keys must be
 * of one chat and author; at most 10,000.
 */
int32_t centralita_session_mark_read(const centralita_session *session,
                                     const centralita_message_key *keys,
                                     size_t count,
                                     const centralita_async *later,
                                     centralita_error **err);

/**
 * Shows "typing…" in a chat (`composing` 1), or stops showing it (0). `to`: a phone number or a JID.
 */
int32_t centralita_session_set_typing(const centralita_session *session,
                                      centralita_str to,
                                      int32_t composing,
                                      const centralita_async *later,
                                      centralita_error **err);

/**
 * A page of its stored messages, the newest first. `query_json`: `{"chatId":…,"limit":100,"after":…}`, each optional;
 * `{NULL, 0}` for none. Gives `{"items":[…],"next":…,"malformed":[ids]}`; pass `next` as `after` for the rest.
 */
int32_t centralita_session_messages(const centralita_session *session,
                                    centralita_str query_json,
                                    const centralita_async *later,
                                    centralita_buf *out,
                                    centralita_error **err);

/**
 * A page of its stored chats, the one with the newest message first. `query_json` and what it gives: as in
 * `centralita_session_messages`, without `chatId`.
 */
int32_t centralita_session_chats(const centralita_session *session,
                                 centralita_str query_json,
                                 const centralita_async *later,
                                 centralita_buf *out,
                                 centralita_error **err);

/**
 * A page of what waits in a session's outbox, in the order in which it is sent. `page_json`: `{"limit":100,"after":…}`;
 * `{NULL, 0}` for the first. Gives `{"items":[{"chatId","sender","messageId","state","attempts","queuedAt",
 * "expiresAt"}],"next","malformed"}`.
 */
int32_t centralita_session_outbox(const centralita_session *session,
                                  centralita_str page_json,
                                  const centralita_async *later,
                                  centralita_buf *out,
                                  centralita_error **err);

/**
 * Takes a message out of the outbox, whether the session runs or not. `CENTRALITA_INVALID_STATE` if it is being sent or
 * may have been sent already, `CENTRALITA_NOT_FOUND` if it does not wait.
 */
int32_t centralita_session_cancel_queued(const centralita_session *session,
                                         centralita_str message_id,
                                         const centralita_async *later,
                                         centralita_error **err);

/**
 * Its record as stored, as JSON with the fields of the `sessions` collection (`sessionId`, `status`, `isConnected`,
 * `messagesReceived`, …; dates in RFC 3339).
 */
int32_t centralita_session_record(const centralita_session *session,
                                  const centralita_async *later,
                                  centralita_buf *out,
                                  centralita_error **err);

/**
 * Its status in this process, `CENTRALITA_STATUS_…`. `CENTRALITA_INVALID_STATE` if it does not run here.
 */
int32_t centralita_session_status(const centralita_session *session, int32_t *out, centralita_error **err);

/**
 * Whether it is logged in at this moment.
 */
bool centralita_session_is_connected(const centralita_session *session);

/**
 * Whether it is parked, or on its way back from that. See `centralita_session_park`.
 */
bool centralita_session_is_parked(const centralita_session *session);

/**
 * Its health as JSON: `{"link":VITAL,"receive":VITAL,"send":VITAL,"parked":false,"restarts":0,"memoryBytes":…}`, each
 * `VITAL` `{"state":"good"|"unknown"|"suspect"|"bad","since":date,"reason":…}`. `CENTRALITA_INVALID_STATE` if it does
 * not run here. The main figures without JSON: `centralita_session_get_figures`.
 */
int32_t centralita_session_health(const centralita_session *session,
                                  const centralita_async *later,
                                  centralita_buf *out,
                                  centralita_error **err);

/**
 * Fills in the main figures of its health. `CENTRALITA_INVALID_STATE` if it does not run here.
 */
int32_t centralita_session_get_figures(const centralita_session *session,
                                       centralita_session_figures *out,
                                       centralita_error **err);

/**
 * Closes its socket and frees its memory, but keeps it: WhatsApp queues what comes, and a send, a start, the option
 * `park_wake_every_ms` or `centralita_session_reconnect_now` wakes it. Ends once it is parked; its status is then
 * `disconnected`. `CENTRALITA_INVALID_STATE` if it does not run here or was never linked.
 */
int32_t centralita_session_park(const centralita_session *session,
                                const centralita_async *later,
                                centralita_error **err);

/**
 * Ends a pause between two connections, or wakes a parked session: the next attempt is made now.
 */
int32_t centralita_session_reconnect_now(const centralita_session *session, centralita_error **err);

/**
 * Ends the connection and releases the session; the credentials stay. Effective at once in every state.
 */
int32_t centralita_session_stop(const centralita_session *session,
                                const centralita_async *later,
                                centralita_error **err);

/**
 * Removes this device from the account and deletes the credentials; record, messages and chats stay.
 * `CENTRALITA_INVALID_STATE` if it does not run: then WhatsApp cannot be told.
 */
int32_t centralita_session_log_out(const centralita_session *session,
                                   const centralita_async *later,
                                   centralita_error **err);

/**
 * Stops the session and deletes all of it: record, credentials, keys, messages, chats. If it is connected it is logged
 * out first, so that the phone does not list it any more.
 */
int32_t centralita_session_delete(const centralita_session *session,
                                  const centralita_async *later,
                                  centralita_error **err);

/**
 * Waits for the next step, `timeout_ms` at most (negative: for ever; 0: only looks). Free the step with
 * `centralita_link_step_free`. `CENTRALITA_END` after the last step, `CENTRALITA_TIMEOUT` if none came. Inside a
 * callback only 0 is allowed.
 */
int32_t centralita_link_next(centralita_link *link,
                             int64_t timeout_ms,
                             centralita_link_step **out,
                             centralita_error **err);

/**
 * Frees the handle, not the session, and sets `*link` to NULL. NULL is fine, twice is fine.
 */
void centralita_link_free(centralita_link **link);

/**
 * `CENTRALITA_LINK_…`; 0 for NULL or for a step that is newer than this header.
 */
int32_t centralita_link_step_type(const centralita_link_step *step);

/**
 * The code or challenge; for `CENTRALITA_LINK_FAILED` what happened. A secret while it is valid. Borrowed from `step`;
 * `{NULL, 0}` if the step has none.
 */
centralita_str centralita_link_step_text(const centralita_link_step *step);

/**
 * When the code stops being valid, in milliseconds since the Unix epoch; -1 if it has no end.
 */
int64_t centralita_link_step_expires_at_ms(const centralita_link_step *step);

/**
 * Whether the phone shows a code to compare with (`CENTRALITA_LINK_PASSKEY_CONFIRMATION`).
 */
bool centralita_link_step_must_compare(const centralita_link_step *step);

/**
 * Why it did not work (`CENTRALITA_LINK_FAILED`): borrowed from `step`. NULL for every other step.
 */
const centralita_error *centralita_link_step_error(const centralita_link_step *step);

/**
 * Frees a step and sets `*step` to NULL. NULL is fine, twice is fine.
 */
void centralita_link_step_free(centralita_link_step **step);

/**
 * Draws a text of up to 2,953 bytes as a QR code in the format `CENTRALITA_QR_…`.
 */
int32_t centralita_qr_render(centralita_str text,
                             int32_t format,
                             uint32_t scale,
                             centralita_buf *out,
                             centralita_error **err);

/**
 * `CENTRALITA_EVENT_…`; 0 for NULL or for an event that is newer than this header (its JSON has it).
 */
int32_t centralita_event_type(const centralita_event *event);

/**
 * Its number: rises by one with each event of the session in this process, from 1; with durable events, with each
 * logged event of the session for ever, and one that is not logged has the number of the one before it. 0 for
 * `CENTRALITA_EVENT_LAGGED`.
 */
uint64_t centralita_event_seq(const centralita_event *event);

/**
 * The session's id; empty for `CENTRALITA_EVENT_LAGGED`.
 */
centralita_str centralita_event_session_id(const centralita_event *event);

/**
 * When it was published, in milliseconds since the Unix epoch.
 */
int64_t centralita_event_at_ms(const centralita_event *event);

/**
 * The whole event: `{"seq":…,"sessionId":…,"at":…,"type":"message","data":{…}}`. Made when first asked for.
 */
centralita_str centralita_event_json(const centralita_event *event);

/**
 * The status now, `CENTRALITA_STATUS_…`; 0 unless it is a `CENTRALITA_EVENT_STATUS`.
 */
int32_t centralita_event_status(const centralita_event *event);

/**
 * The text of a QR code or the pair code of a `CENTRALITA_EVENT_CODE`: a secret. `{NULL, 0}` for everything else.
 */
centralita_str centralita_event_code(const centralita_event *event);

/**
 * The text of a message, or the caption of a media message; `{NULL, 0}` if it is no message or has none.
 */
centralita_str centralita_event_text(const centralita_event *event);

/**
 * The author's name as he gave it; `{NULL, 0}` if it is no message or not known.
 */
centralita_str centralita_event_sender_name(const centralita_event *event);

/**
 * Whether the own account wrote the message, from whichever device. False if it is no message.
 */
bool centralita_event_from_me(const centralita_event *event);

/**
 * What names the message, to reply, react, edit, revoke or mark it read. Answers `CENTRALITA_END` and an empty key if
 * the event is about no message. The strings are borrowed from `event`.
 */
int32_t centralita_event_message_key(const centralita_event *event,
                                     centralita_message_key *out);

/**
 * How many events were dropped just before this one; 0 unless it is a `CENTRALITA_EVENT_LAGGED` or
 * `CENTRALITA_EVENT_MISSED`.
 */
uint64_t centralita_event_dropped(const centralita_event *event);

/**
 * Keeps an event beyond the callback that it was given to: a new handle on the same event, to be freed.
 */
int32_t centralita_event_clone(const centralita_event *event, centralita_event **out, centralita_error **err);

/**
 * Frees an event that was taken or cloned, never one that a callback was given, and sets `*event` to NULL. NULL is
 * fine, twice is fine.
 */
void centralita_event_free(centralita_event **event);

/**
 * Events from now on. With `sink->on_event` they are pushed to the sink; with `sink` or `sink->on_event` NULL they are
 * taken with `centralita_subscription_next`. The subscription does not keep the service open.
 */
int32_t centralita_subscribe(const centralita_service *service,
                             const centralita_sink *sink,
                             centralita_subscription **out,
                             centralita_error **err);

/**
 * Takes the next event; free it with `centralita_event_free`. Waits `timeout_ms` at most (negative: for ever; 0: only
 * looks); `CENTRALITA_TIMEOUT` if nothing came. `CENTRALITA_END` once the service was shut down and all events were
 * taken, or the subscription was closed. `CENTRALITA_RATE_LIMITED` if it fell behind and `CENTRALITA_OVERFLOW_CLOSE`
 * was chosen. One thread at a time (`CENTRALITA_INVALID_STATE`), and not with a sink. Inside a callback only 0 is
 * allowed.
 */
int32_t centralita_subscription_next(centralita_subscription *subscription,
                                     int64_t timeout_ms,
                                     centralita_event **out,
                                     centralita_error **err);

/**
 * Ends a subscription from any thread and wakes whoever waits in `centralita_subscription_next`, which answers
 * `CENTRALITA_END` from then on. Free it once he is back. Never blocks.
 */
int32_t centralita_subscription_close(const centralita_subscription *subscription,
                                      centralita_error **err);

/**
 * Ends a subscription, frees the handle and sets `*subscription` to NULL. It waits for a call of the sink that is
 * running: when it returns, no function of the sink will run any more, and `drop` was called. Hold no lock that the
 * sink's functions want.
 *
 * Inside a callback (of any sink) it does not wait: the running call ends, then `drop` is called, and nothing else.
 * NULL is fine, twice is fine.
 */
void centralita_subscription_free(centralita_subscription **subscription);

/**
 * Opens a consumer of durable events: it goes on where it was, in whichever process. The option `durable_events` must
 * be on. `options_json`: `{"start":"oldest"|"newest","standBy":false,"pollIntervalMs":1000,"maxAttempts":10,
 * "minPauseMs":1000,"maxPauseMs":300000}`, each optional; `{NULL, 0}` for none. `start` counts the first time only; with
 * `standBy` it waits until no other process has it open, which inside a callback only goes with `later`; the last three
 * are for `centralita_consumer_run`.
 *
 * `CENTRALITA_INVALID_STATE` if durable events are off, `CENTRALITA_CONFLICT` if it is open elsewhere.
 */
int32_t centralita_consumer_open(const centralita_service *service,
                                 centralita_str name,
                                 centralita_str options_json,
                                 const centralita_async *later,
                                 centralita_consumer **out,
                                 centralita_error **err);

/**
 * The next events of all sessions, in order within each: at most `max` (1 to 10,000), as soon as there is one; none
 * if nothing came within `patience_ms`. Gives an array of `{"cursor","attempt","replayed","event":{…}}`. What was
 * given is not given again while this consumer is open; what was not acknowledged comes again once it was closed and
 * opened. Inside a callback it must be given `later`, unless `patience_ms` is 0.
 *
 * An operation that is cancelled or abandoned may have taken events along: they too come again after a close.
 */
int32_t centralita_consumer_next(const centralita_consumer *consumer,
                                 uint32_t max,
                                 int64_t patience_ms,
                                 const centralita_async *later,
                                 centralita_buf *out,
                                 centralita_error **err);

/**
 * Says that the event with this cursor and all before it of its session are done with: they do not come again.
 * `CENTRALITA_INVALID` if it is no cursor, another consumer's, or beyond the end of the log.
 */
int32_t centralita_consumer_ack(const centralita_consumer *consumer,
                                centralita_str cursor,
                                const centralita_async *later,
                                centralita_error **err);

/**
 * Puts the event with this cursor aside as a dead letter, and acknowledges it and all before it of its session.
 * `reason` is kept, up to 2,000 bytes. `CENTRALITA_NOT_FOUND` if the event is not in the log any more: acknowledge it.
 */
int32_t centralita_consumer_reject(const centralita_consumer *consumer,
                                   centralita_str cursor,
                                   centralita_str reason,
                                   const centralita_async *later,
                                   centralita_error **err);

/**
 * Its name. Borrowed from `consumer`.
 */
centralita_str centralita_consumer_name(const centralita_consumer *consumer);

/**
 * Ends it: another process may open it at once. A handler that runs on it ends first.
 */
int32_t centralita_consumer_close(const centralita_consumer *consumer,
                                  const centralita_async *later,
                                  centralita_error **err);

/**
 * Frees the handle and sets `*consumer` to NULL. With its last handle, that of an operation included, a consumer that
 * was not closed is closed by itself, soon. NULL is fine, twice is fine.
 */
void centralita_consumer_free(centralita_consumer **consumer);

/**
 * The consumers that were ever opened and not deleted: an array of `{"name","createdAt","behind"}`, `behind` in events.
 */
int32_t centralita_consumers(const centralita_service *service,
                             const centralita_async *later,
                             centralita_buf *out,
                             centralita_error **err);

/**
 * Forgets a consumer: its place in the log and its dead letters. `CENTRALITA_CONFLICT` if it is open somewhere.
 */
int32_t centralita_consumer_delete(const centralita_service *service,
                                   centralita_str name,
                                   const centralita_async *later,
                                   centralita_error **err);

/**
 * A page of the events that a consumer's handler failed on. `page_json`: `{"limit":100,"after":…}`, `{NULL, 0}` for the
 * first. Gives `{"items":[{"event","attempts","error","failedAt","replay"}],"next","malformed"}`.
 */
int32_t centralita_dead_letters(const centralita_service *service,
                                centralita_str consumer_name,
                                centralita_str page_json,
                                const centralita_async *later,
                                centralita_buf *out,
                                centralita_error **err);

/**
 * Has a dead letter handled once more, by whichever process runs the consumer. `session_id` `{NULL, 0}`: all of them,
 * whatever `seq`. Gives a number: how many.
 */
int32_t centralita_dead_letters_replay(const centralita_service *service,
                                       centralita_str consumer_name,
                                       centralita_str session_id,
                                       uint64_t seq,
                                       const centralita_async *later,
                                       centralita_buf *out,
                                       centralita_error **err);

/**
 * Removes a dead letter for good. `session_id` `{NULL, 0}`: all of them, whatever `seq`. Gives a number: how many.
 */
int32_t centralita_dead_letters_discard(const centralita_service *service,
                                        centralita_str consumer_name,
                                        centralita_str session_id,
                                        uint64_t seq,
                                        const centralita_async *later,
                                        centralita_buf *out,
                                        centralita_error **err);

/**
 * Has a function handle every event of a consumer, until `centralita_consumer_stop` or the consumer's close: the operation
 * then ends with `CENTRALITA_OK`, after the running call and `drop`. The service's shutdown ends it too, with
 * `CENTRALITA_OK` or `CENTRALITA_CLOSED`. With `later` it goes on by itself, and cancelling it stops it at once: what was
 * being handled comes again. Inside a callback it must be given `later`.
 *
 * `CENTRALITA_INVALID_STATE` if one runs already, `CENTRALITA_CONFLICT` if another process took the consumer over. A
 * store that is away is waited for.
 */
int32_t centralita_consumer_run(const centralita_consumer *consumer,
                                const centralita_handler *handler,
                                const centralita_async *later,
                                centralita_error **err);

/**
 * Ends a `centralita_consumer_run` once the running call has ended. Without one it does nothing. Never waits.
 */
int32_t centralita_consumer_stop(const centralita_consumer *consumer, centralita_error **err);

/**
 * `createOrUpdateSession`: creates a session (`pending`, active) or changes what is said of it; its status stays. It does
 * not start it. `data_json`: `{"name","phone","userAgent","platform","version"}`, each optional; `{NULL, 0}` for none.
 * Gives the record.
 */
int32_t centralita_manager_create_or_update_session(const centralita_service *service,
                                                    centralita_str session_id,
                                                    centralita_str data_json,
                                                    const centralita_async *later,
                                                    centralita_buf *out,
                                                    centralita_error **err);

/**
 * `getSession`: gives the record, its QR code opened. `CENTRALITA_NOT_FOUND` if there is none.
 */
int32_t centralita_manager_get_session(const centralita_service *service,
                                       centralita_str session_id,
                                       const centralita_async *later,
                                       centralita_buf *out,
                                       centralita_error **err);

/**
 * A page of sessions. `query_json`: `{"isActive","isConnected","statuses":[…],"minConnectionAttempts",
 * "lastActivityBefore":date,"sessionIds":[…],"limit":100,"after","mostRecentlyActiveFirst":false}`, each optional;
 * `{NULL, 0}` for all. Gives `{"items":[records],"next":…,"malformed":[ids]}`; pass `next` as `after` for the rest.
 */
int32_t centralita_manager_list_sessions(const centralita_service *service,
                                         centralita_str query_json,
                                         const centralita_async *later,
                                         centralita_buf *out,
                                         centralita_error **err);

/**
 * Counts the sessions that `query_json` (as in `centralita_manager_list_sessions`) names. Gives a number.
 */
int32_t centralita_manager_count_sessions(const centralita_service *service,
                                          centralita_str query_json,
                                          const centralita_async *later,
                                          centralita_buf *out,
                                          centralita_error **err);

/**
 * `getActiveSessions`: sessions that were not put away. `page_json`: `{"limit":100,"after","mostRecentlyActiveFirst":false}`, each
 * optional; `{NULL, 0}` for the first page. Gives a page as `centralita_manager_list_sessions` does.
 */
int32_t centralita_manager_get_active_sessions(const centralita_service *service,
                                               centralita_str page_json,
                                               const centralita_async *later,
                                               centralita_buf *out,
                                               centralita_error **err);

/**
 * `getConnectedSessions`: sessions that are logged in. `page_json`: `{"limit":100,"after","mostRecentlyActiveFirst":false}`, each
 * optional; `{NULL, 0}` for the first page. Gives a page as `centralita_manager_list_sessions` does.
 */
int32_t centralita_manager_get_connected_sessions(const centralita_service *service,
                                                  centralita_str page_json,
                                                  const centralita_async *later,
                                                  centralita_buf *out,
                                                  centralita_error **err);

/**
 * `getProblematicSessions`: sessions in status `error` or with at least `min_attempts` failed attempts.
 * `page_json`: `{"limit":100,"after","mostRecentlyActiveFirst":false}`, each
 * optional; `{NULL, 0}` for the first page. Gives a page as `centralita_manager_list_sessions` does.
 */
int32_t centralita_manager_get_problematic_sessions(const centralita_service *service,
                                                    uint32_t min_attempts,
                                                    centralita_str page_json,
                                                    const centralita_async *later,
                                                    centralita_buf *out,
                                                    centralita_error **err);

/**
 * `getStatistics`: gives the figures of the whole system (`totalSessions`, `connectedSessions`, `totalMessages`, …).
 */
int32_t centralita_manager_get_statistics(const centralita_service *service,
                                          const centralita_async *later,
                                          centralita_buf *out,
                                          centralita_error **err);

/**
 * `deleteSession`: deletes a session that runs nowhere, with all that is its. Gives `{"auth","messages","chats"}`: how many
 * documents went with it. `CENTRALITA_CONFLICT` if an instance holds it: see `centralita_session_delete`.
 */
int32_t centralita_manager_delete_session(const centralita_service *service,
                                          centralita_str session_id,
                                          const centralita_async *later,
                                          centralita_buf *out,
                                          centralita_error **err);

/**
 * `cleanupInactiveSessions`: deletes the sessions without activity for `days_inactive` days, or with `dry_run` 1 says which
 * it would. Gives `{"dryRun","removed":[ids],"held":[ids],"failed":[{"sessionId","kind","message"}]}`.
 */
int32_t centralita_manager_cleanup_inactive_sessions(const centralita_service *service,
                                                     uint32_t days_inactive,
                                                     int32_t dry_run,
                                                     const centralita_async *later,
                                                     centralita_buf *out,
                                                     centralita_error **err);

/**
 * `updateConnectionStatus`: sets the status that `status` names (`pending`, `qr_ready`, `connected`, …) if the transition
 * table leads to it. `CENTRALITA_INVALID` unless `is_connected` is 1 exactly for `connected`. `metadata_json`:
 * `{"phone","name","platform","version","userAgent","disconnectReason",
 * "statusDetail"}`, each optional. Gives the record.
 */
int32_t centralita_manager_update_connection_status(const centralita_service *service,
                                                    centralita_str session_id,
                                                    int32_t is_connected,
                                                    centralita_str status,
                                                    centralita_str metadata_json,
                                                    const centralita_async *later,
                                                    centralita_buf *out,
                                                    centralita_error **err);

/**
 * `recordConnectionAttempt`: a failure (`success` 0) counts, a success (1) sets the count to zero. `reason`: `{NULL, 0}` for
 * none. Gives the record.
 */
int32_t centralita_manager_record_connection_attempt(const centralita_service *service,
                                                     centralita_str session_id,
                                                     int32_t success,
                                                     centralita_str reason,
                                                     const centralita_async *later,
                                                     centralita_buf *out,
                                                     centralita_error **err);

/**
 * `resetConnectionAttempts`: sets the count of failed attempts to zero. Gives the record.
 */
int32_t centralita_manager_reset_connection_attempts(const centralita_service *service,
                                                     centralita_str session_id,
                                                     const centralita_async *later,
                                                     centralita_buf *out,
                                                     centralita_error **err);

/**
 * `updateQRCode`: stores a QR code, which makes the session `qr_ready`; `{NULL, 0}` removes it. Gives the record.
 */
int32_t centralita_manager_update_qr_code(const centralita_service *service,
                                          centralita_str session_id,
                                          centralita_str qr_code,
                                          const centralita_async *later,
                                          centralita_buf *out,
                                          centralita_error **err);

/**
 * `markAsInactive`: puts a session away: it is not restored at start, and cleanup removes it in time. Gives the record.
 */
int32_t centralita_manager_mark_as_inactive(const centralita_service *service,
                                            centralita_str session_id,
                                            centralita_str reason,
                                            const centralita_async *later,
                                            centralita_buf *out,
                                            centralita_error **err);

/**
 * `incrementMessageCount`: counts one message of `direction` `received` or `sent`. Messages that are stored are counted
 * already: this is for those that are not. Gives the record.
 */
int32_t centralita_manager_increment_message_count(const centralita_service *service,
                                                   centralita_str session_id,
                                                   centralita_str direction,
                                                   const centralita_async *later,
                                                   centralita_buf *out,
                                                   centralita_error **err);

/**
 * `updateChatCount`: counts the stored chats anew and sets `totalChats`. Gives the record.
 */
int32_t centralita_manager_update_chat_count(const centralita_service *service,
                                             centralita_str session_id,
                                             const centralita_async *later,
                                             centralita_buf *out,
                                             centralita_error **err);

/**
 * `updateHealthCheck`: notes a health check and the memory that the session takes, in MB (2^20 bytes). Gives the record.
 */
int32_t centralita_manager_update_health_check(const centralita_service *service,
                                               centralita_str session_id,
                                               double memory_mb,
                                               const centralita_async *later,
                                               centralita_buf *out,
                                               centralita_error **err);

/**
 * `start`: starts the automatic cleanup and health checks. The first round of each kind comes after its interval.
 * `options_json`: `{"cleanupIntervalMs":21600000,"inactiveDays":30,"healthCheckIntervalMs":300000,
 * "disconnectedAlertAfterMs":300000,"problematicMinAttempts":5,"reportLimit":100}`, each optional; `{NULL, 0}` for the
 * defaults, which these are.
 */
int32_t centralita_cleanup_start(const centralita_service *service,
                                 centralita_str options_json,
                                 centralita_cleanup **out,
                                 centralita_error **err);

/**
 * `stop`: ends the rounds and waits for one that is under way.
 */
int32_t centralita_cleanup_stop(const centralita_cleanup *cleanup,
                                const centralita_async *later,
                                centralita_error **err);

/**
 * Whether the rounds run.
 */
bool centralita_cleanup_is_running(const centralita_cleanup *cleanup);

/**
 * `runManualCleanup`: as `centralita_manager_cleanup_inactive_sessions`, now.
 */
int32_t centralita_cleanup_run_manual_cleanup(const centralita_cleanup *cleanup,
                                              uint32_t days_inactive,
                                              int32_t dry_run,
                                              const centralita_async *later,
                                              centralita_buf *out,
                                              centralita_error **err);

/**
 * `getHealthReport`: gives the state of the system at this moment: `statistics`, `problematic`, `disconnected`,
 * `memory` and how the rounds do.
 */
int32_t centralita_cleanup_get_health_report(const centralita_cleanup *cleanup,
                                             const centralita_async *later,
                                             centralita_buf *out,
                                             centralita_error **err);

/**
 * `resetProblematicSessions`: sets the count of failed attempts to zero in every session that has at least
 * `min_attempts`. Gives a number: in how many.
 */
int32_t centralita_cleanup_reset_problematic_sessions(const centralita_cleanup *cleanup,
                                                      uint32_t min_attempts,
                                                      const centralita_async *later,
                                                      centralita_buf *out,
                                                      centralita_error **err);

/**
 * Ends the rounds without waiting, frees the handle and sets `*cleanup` to NULL. NULL is fine, twice is fine.
 */
void centralita_cleanup_free(centralita_cleanup **cleanup);

/**
 * Sends the logs of this library to a function; a later call replaces it, `sink` NULL ends it. When it returns, no
 * function of the sink before will run any more, and its `drop` was called (inside a callback: soon). There is one
 * sink for the process; without one, nothing is logged anywhere. No line holds a secret or a message text; phone
 * numbers only at `CENTRALITA_LOG_DEBUG` and beyond.
 */
int32_t centralita_log_set(const centralita_log_sink *sink,
                           centralita_error **err);

/**
 * The figures of all services of the process, in Prometheus' text format. `CENTRALITA_INVALID_STATE` unless a service
 * was opened with the option `metrics`.
 */
int32_t centralita_metrics_text(centralita_buf *out,
                                centralita_error **err);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CENTRALITA_H */

#ifndef CENTRALITA_H_INLINE
#define CENTRALITA_H_INLINE

/* Initial values. */
#define CENTRALITA_SINK_INIT \
    { (uint32_t)sizeof(centralita_sink), 0, CENTRALITA_OVERFLOW_DROP_OLDEST, 0, NULL, NULL, NULL, NULL, NULL, 0 }
#define CENTRALITA_ASYNC_INIT { (uint32_t)sizeof(centralita_async), 0, NULL, NULL, NULL, NULL }
#define CENTRALITA_PROGRESS_INIT { (uint32_t)sizeof(centralita_progress), 0, NULL, NULL, NULL }
#define CENTRALITA_KEY_PROVIDER_INIT \
    { (uint32_t)sizeof(centralita_key_provider), 0, NULL, NULL, NULL, NULL, NULL }
#define CENTRALITA_LOG_SINK_INIT { (uint32_t)sizeof(centralita_log_sink), 0, NULL, NULL, NULL }
#define CENTRALITA_OUTGOING_INIT \
    { (uint32_t)sizeof(centralita_outgoing), 0, { NULL, 0 }, { NULL, 0 }, \
      { { NULL, 0 }, { NULL, 0 }, { NULL, 0 } }, { NULL, 0 }, 0, 0, 0 }
#define CENTRALITA_HANDLER_INIT { (uint32_t)sizeof(centralita_handler), 0, NULL, NULL, NULL }
#define CENTRALITA_SESSION_FIGURES_INIT { (uint32_t)sizeof(centralita_session_figures), 0, 0, 0, 0, 0, 0, 0 }
#define CENTRALITA_SERVICE_FIGURES_INIT \
    { (uint32_t)sizeof(centralita_service_figures), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define CENTRALITA_BUF_INIT { NULL, 0, 0 }

/* The string of a C string; {NULL, 0} of NULL. */
static inline centralita_str centralita_cstr(const char *text)
{
    centralita_str string = { text, 0 };
    if (text != NULL) {
        string.len = strlen(text);
    }
    return string;
}

/* The string of a literal. */
#define CENTRALITA_STR(literal) centralita_cstr("" literal)

/* `text` to a phone number in international form, or to the JID of a contact or group. */
static inline centralita_outgoing centralita_text(centralita_str to, centralita_str text)
{
    centralita_outgoing message = CENTRALITA_OUTGOING_INIT;
    message.kind = CENTRALITA_OUTGOING_TEXT;
    message.to = to;
    message.text = text;
    return message;
}

/* A message about another one; see CENTRALITA_OUTGOING_REPLY and what follows it. */
static inline centralita_outgoing
centralita_about(int32_t kind, centralita_message_key target, centralita_str text)
{
    centralita_outgoing message = CENTRALITA_OUTGOING_INIT;
    message.kind = kind;
    message.target = target;
    message.text = text;
    return message;
}

/* `text` in answer to a message, in its chat. */
static inline centralita_outgoing centralita_reply(centralita_message_key target, centralita_str text)
{
    return centralita_about(CENTRALITA_OUTGOING_REPLY, target, text);
}

/* Layout: what the library was built with must be what the compiler makes of this header. */
#if defined(__cplusplus)
#define CENTRALITA_ASSERT static_assert
#else
#define CENTRALITA_ASSERT _Static_assert
#endif
#if UINTPTR_MAX == 0xFFFFFFFFFFFFFFFFu
CENTRALITA_ASSERT(sizeof(centralita_str) == 16 && offsetof(centralita_str, len) == 8, "centralita_str");
CENTRALITA_ASSERT(sizeof(centralita_buf) == 24 && offsetof(centralita_buf, cap) == 16, "centralita_buf");
CENTRALITA_ASSERT(sizeof(centralita_message_key) == 48, "centralita_message_key");
CENTRALITA_ASSERT(offsetof(centralita_message_key, message_id) == 32, "centralita_message_key");
CENTRALITA_ASSERT(offsetof(centralita_outgoing, to) == 8, "centralita_outgoing");
CENTRALITA_ASSERT(offsetof(centralita_outgoing, target) == 40, "centralita_outgoing");
CENTRALITA_ASSERT(offsetof(centralita_outgoing, idempotency_key) == 88, "centralita_outgoing");
CENTRALITA_ASSERT(offsetof(centralita_outgoing, timeout_ms) == 104, "centralita_outgoing");
CENTRALITA_ASSERT(offsetof(centralita_outgoing, queue_until_ms) == 120, "centralita_outgoing");
CENTRALITA_ASSERT(sizeof(centralita_outgoing) == 128, "centralita_outgoing");
CENTRALITA_ASSERT(offsetof(centralita_sink, user_data) == 16, "centralita_sink");
CENTRALITA_ASSERT(offsetof(centralita_sink, drop) == 40, "centralita_sink");
CENTRALITA_ASSERT(sizeof(centralita_sink) == 64, "centralita_sink");
CENTRALITA_ASSERT(offsetof(centralita_async, op) == 32, "centralita_async");
CENTRALITA_ASSERT(sizeof(centralita_async) == 40, "centralita_async");
CENTRALITA_ASSERT(sizeof(centralita_progress) == 32, "centralita_progress");
CENTRALITA_ASSERT(sizeof(centralita_restore_step) == 48, "centralita_restore_step");
CENTRALITA_ASSERT(offsetof(centralita_restore_step, session_id) == 32, "centralita_restore_step");
CENTRALITA_ASSERT(sizeof(centralita_handler) == 32, "centralita_handler");
CENTRALITA_ASSERT(offsetof(centralita_session_figures, restarts) == 24, "centralita_session_figures");
CENTRALITA_ASSERT(sizeof(centralita_session_figures) == 40, "centralita_session_figures");
CENTRALITA_ASSERT(offsetof(centralita_service_figures, running) == 16, "centralita_service_figures");
CENTRALITA_ASSERT(sizeof(centralita_service_figures) == 88, "centralita_service_figures");
CENTRALITA_ASSERT(sizeof(centralita_log_sink) == 32, "centralita_log_sink");
#endif

#endif /* CENTRALITA_H_INLINE */
