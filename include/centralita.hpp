// centralita for C++17: handles that free themselves, exceptions, std::function. A thin layer over centralita.h, whose
// documentation says what each call does; `raw()` gives the C handle for what is not here.
#ifndef CENTRALITA_HPP
#define CENTRALITA_HPP

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "centralita.h"

namespace centralita {

using milliseconds = std::chrono::milliseconds;

inline std::string_view view(centralita_str text) { return text.ptr ? std::string_view(text.ptr, text.len) : std::string_view(); }
inline centralita_str str(std::string_view text) { return centralita_str{text.data() ? text.data() : "", text.size()}; }
inline centralita_str optional_str(const std::optional<std::string>& text) { return text ? str(std::string_view(*text)) : centralita_str{nullptr, 0}; }

// What a call failed with. `code()` is one of CENTRALITA_….
class Error : public std::runtime_error {
public:
    explicit Error(const centralita_error* error, int32_t code)
        : std::runtime_error(std::string(view(centralita_error_message(error)))),
          code_(code),
          kind_(view(centralita_error_kind(error))),
          session_(view(centralita_error_session(error))),
          retryable_(centralita_error_is_retryable(error)),
          retry_after_(centralita_error_retry_after_ms(error)) {}

    int32_t code() const noexcept { return code_; }
    const std::string& kind() const noexcept { return kind_; }
    // Empty if it concerns none.
    const std::string& session() const noexcept { return session_; }
    bool retryable() const noexcept { return retryable_; }
    std::optional<milliseconds> retry_after() const noexcept
    {
        return retry_after_ < 0 ? std::nullopt : std::optional<milliseconds>(retry_after_);
    }

private:
    int32_t code_;
    std::string kind_, session_;
    bool retryable_;
    int64_t retry_after_;
};

namespace detail {

// Calls with a place for an error, and throws what comes. Gives OK, END or PENDING.
template <class Call>
int32_t check(Call&& call)
{
    centralita_error* error = nullptr;
    const int32_t code = call(&error);
    if (code > CENTRALITA_PENDING) {
        struct Free {
            centralita_error* error;
            ~Free() { centralita_error_free(&error); }
        } free{error};
        throw Error(error, code);
    }
    return code;
}

template <class T, void (*Free)(T**)>
class Handle {
public:
    Handle() noexcept = default;
    explicit Handle(T* handle) noexcept : handle_(handle) {}
    Handle(Handle&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Handle& operator=(Handle&& other) noexcept
    {
        if (this != &other) {
            Free(&handle_);
            handle_ = std::exchange(other.handle_, nullptr);
        }
        return *this;
    }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    ~Handle() { Free(&handle_); }

    T* raw() const noexcept { return handle_; }
    explicit operator bool() const noexcept { return handle_ != nullptr; }
    void free() noexcept { Free(&handle_); }

protected:
    T** out() noexcept { return &handle_; }
    T* handle_ = nullptr;
};

// A call that gives text or JSON.
template <class Call>
std::string text(Call&& call)
{
    struct Buf {
        centralita_buf buf = CENTRALITA_BUF_INIT;
        ~Buf() { centralita_buf_free(&buf); }
    } out;
    check([&](centralita_error** err) { return call(&out.buf, err); });
    return std::string(out.buf.ptr ? out.buf.ptr : "", out.buf.len);
}

} // namespace detail

// Names a message; owns its strings.
struct MessageKey {
    std::string chat_id, sender, message_id;

    centralita_message_key raw() const noexcept { return {str(chat_id), str(sender), str(message_id)}; }
};

// A view of an event; valid as long as what it was got from.
class EventView {
public:
    explicit EventView(const centralita_event* event) noexcept : event_(event) {}

    int32_t type() const noexcept { return centralita_event_type(event_); }
    uint64_t seq() const noexcept { return centralita_event_seq(event_); }
    std::string_view session_id() const noexcept { return view(centralita_event_session_id(event_)); }
    milliseconds at() const noexcept { return milliseconds(centralita_event_at_ms(event_)); }
    std::string_view json() const noexcept { return view(centralita_event_json(event_)); }
    int32_t status() const noexcept { return centralita_event_status(event_); }
    std::string_view code() const noexcept { return view(centralita_event_code(event_)); }
    std::string_view text() const noexcept { return view(centralita_event_text(event_)); }
    std::string_view sender_name() const noexcept { return view(centralita_event_sender_name(event_)); }
    bool from_me() const noexcept { return centralita_event_from_me(event_); }
    uint64_t dropped() const noexcept { return centralita_event_dropped(event_); }
    std::optional<MessageKey> message_key() const
    {
        centralita_message_key key;
        if (centralita_event_message_key(event_, &key) != CENTRALITA_OK) {
            return std::nullopt;
        }
        return MessageKey{std::string(view(key.chat_id)), std::string(view(key.sender)), std::string(view(key.message_id))};
    }
    const centralita_event* raw() const noexcept { return event_; }

private:
    const centralita_event* event_;
};

// An event of one's own.
class Event : public detail::Handle<centralita_event, centralita_event_free> {
public:
    using Handle::Handle;
    Event() noexcept = default;
    // Keeps an event beyond the handler that it was given to.
    explicit Event(EventView event) { detail::check([&](auto err) { return centralita_event_clone(event.raw(), out(), err); }); }
    EventView operator*() const noexcept { return EventView(raw()); }

private:
    friend class Subscription;
};

enum class Overflow : int32_t {
    DropOldest = CENTRALITA_OVERFLOW_DROP_OLDEST,
    Wait = CENTRALITA_OVERFLOW_WAIT,
    Close = CENTRALITA_OVERFLOW_CLOSE,
};

struct SubscriptionOptions {
    std::vector<std::string> sessions; // empty: all
    uint32_t capacity = 0;             // 0: 1,024
    Overflow overflow = Overflow::DropOldest;
    // Called with what a handler throws. Default: the exception is swallowed, because it must not leave the handler.
    std::function<void(std::exception_ptr)> on_exception;
};

class Subscription : public detail::Handle<centralita_subscription, centralita_subscription_free> {
public:
    using Handle::Handle;

    // The next event; none once the subscription has ended. Throws Error with CENTRALITA_TIMEOUT if nothing came.
    std::optional<Event> next(milliseconds timeout = milliseconds(-1))
    {
        Event event;
        const auto code = detail::check([&](auto err) {
            return centralita_subscription_next(raw(), timeout.count(), event.out(), err);
        });
        return code == CENTRALITA_OK ? std::optional<Event>(std::move(event)) : std::nullopt;
    }
    void close() { detail::check([&](auto err) { return centralita_subscription_close(raw(), err); }); }

private:
    friend class Service;
};

class LinkStep : public detail::Handle<centralita_link_step, centralita_link_step_free> {
public:
    using Handle::Handle;

    int32_t type() const noexcept { return centralita_link_step_type(raw()); }
    std::string_view text() const noexcept { return view(centralita_link_step_text(raw())); }
    bool must_compare() const noexcept { return centralita_link_step_must_compare(raw()); }
    int64_t expires_at_ms() const noexcept { return centralita_link_step_expires_at_ms(raw()); }
    bool is_last() const noexcept { return type() >= CENTRALITA_LINK_LINKED; }

private:
    friend class Link;
};

class Link : public detail::Handle<centralita_link, centralita_link_free> {
public:
    using Handle::Handle;

    // The next step; none after the last.
    std::optional<LinkStep> next(milliseconds timeout = milliseconds(-1))
    {
        LinkStep step;
        const auto code = detail::check([&](auto err) {
            return centralita_link_next(raw(), timeout.count(), step.out(), err);
        });
        return code == CENTRALITA_OK ? std::optional<LinkStep>(std::move(step)) : std::nullopt;
    }

private:
    friend class Session;
};

// Draws a QR code: CENTRALITA_QR_TERMINAL, _SVG or _PNG.
inline std::string qr(std::string_view code, int32_t format = CENTRALITA_QR_TERMINAL, uint32_t scale = 4)
{
    return detail::text([&](auto out, auto err) { return centralita_qr_render(str(code), format, scale, out, err); });
}

// A message to send; owns its strings.
class Outgoing {
public:
    static Outgoing text(std::string to, std::string text) { return Outgoing(CENTRALITA_OUTGOING_TEXT, std::move(to), std::move(text), {}); }
    static Outgoing reply(MessageKey to, std::string text) { return Outgoing(CENTRALITA_OUTGOING_REPLY, {}, std::move(text), std::move(to)); }
    static Outgoing reaction(MessageKey to, std::string emoji) { return Outgoing(CENTRALITA_OUTGOING_REACTION, {}, std::move(emoji), std::move(to)); }
    static Outgoing edit(MessageKey what, std::string text) { return Outgoing(CENTRALITA_OUTGOING_EDIT, {}, std::move(text), std::move(what)); }
    static Outgoing revoke(MessageKey what) { return Outgoing(CENTRALITA_OUTGOING_REVOKE, {}, {}, std::move(what)); }

    Outgoing& idempotency_key(std::string key)
    {
        idempotency_key_ = std::move(key);
        return *this;
    }
    Outgoing& timeout(milliseconds timeout)
    {
        timeout_ = timeout;
        return *this;
    }

    // If it cannot be sent now, it waits in the outbox for as long as this.
    Outgoing& queue_for(milliseconds time)
    {
        queue_ = time;
        return *this;
    }

    // The same until a moment.
    Outgoing& queue_until(std::chrono::system_clock::time_point moment)
    {
        queue_until_ms_ = std::chrono::duration_cast<milliseconds>(moment.time_since_epoch()).count();
        return *this;
    }

    // Valid as long as this object.
    centralita_outgoing raw() const noexcept
    {
        centralita_outgoing message = CENTRALITA_OUTGOING_INIT;
        message.kind = kind_;
        message.to = str(to_);
        message.text = str(text_);
        message.target = target_.raw();
        message.idempotency_key = optional_str(idempotency_key_);
        message.timeout_ms = timeout_.count();
        message.queue_ms = queue_.count();
        message.queue_until_ms = queue_until_ms_;
        return message;
    }

private:
    Outgoing(int32_t kind, std::string to, std::string text, MessageKey target)
        : kind_(kind), to_(std::move(to)), text_(std::move(text)), target_(std::move(target)) {}

    int32_t kind_;
    std::string to_, text_;
    MessageKey target_;
    std::optional<std::string> idempotency_key_;
    milliseconds timeout_{0}, queue_{0};
    int64_t queue_until_ms_ = 0;
};

class Session : public detail::Handle<centralita_session, centralita_session_free> {
public:
    using Handle::Handle;

    std::string_view id() const noexcept { return view(centralita_session_id(raw())); }
    bool is_connected() const noexcept { return centralita_session_is_connected(raw()); }
    int32_t status() const
    {
        int32_t status = 0;
        detail::check([&](auto err) { return centralita_session_status(raw(), &status, err); });
        return status;
    }
    std::string record() const { return text(centralita_session_record); }
    // As JSON; the main figures without it: figures().
    std::string health() const { return text(centralita_session_health); }
    centralita_session_figures figures() const
    {
        centralita_session_figures figures = CENTRALITA_SESSION_FIGURES_INIT;
        detail::check([&](auto err) { return centralita_session_get_figures(raw(), &figures, err); });
        return figures;
    }
    bool is_parked() const noexcept { return centralita_session_is_parked(raw()); }
    void park() { run(centralita_session_park); }
    Link link()
    {
        Link link;
        detail::check([&](auto err) { return centralita_session_link(raw(), link.out(), err); });
        return link;
    }
    std::string request_pair_code(std::string_view phone)
    {
        return detail::text([&](auto out, auto err) { return centralita_session_request_pair_code(raw(), str(phone), nullptr, out, err); });
    }
    void answer_passkey(std::string_view assertion_json, std::string_view credential_id)
    {
        detail::check([&](auto err) {
            return centralita_session_answer_passkey(raw(), str(assertion_json), reinterpret_cast<const uint8_t*>(credential_id.data()),
                                                     credential_id.size(), nullptr, err);
        });
    }
    void confirm_passkey() { run(centralita_session_confirm_passkey); }
    void wait_connected(milliseconds patience)
    {
        detail::check([&](auto err) { return centralita_session_wait_connected(raw(), patience.count(), nullptr, err); });
    }
    void reconnect_now() { detail::check([&](auto err) { return centralita_session_reconnect_now(raw(), err); }); }
    // Gives the sent message as JSON.
    std::string send(const Outgoing& message)
    {
        const auto raw_message = message.raw();
        return detail::text([&](auto out, auto err) { return centralita_session_send(raw(), &raw_message, nullptr, out, err); });
    }
    std::string outbox(const std::string& page_json = "{}") const
    {
        return detail::text([&](auto out, auto err) { return centralita_session_outbox(raw(), str(std::string_view(page_json)), nullptr, out, err); });
    }
    void cancel_queued(std::string_view message_id)
    {
        detail::check([&](auto err) { return centralita_session_cancel_queued(raw(), str(message_id), nullptr, err); });
    }
    void mark_read(const std::vector<MessageKey>& keys)
    {
        std::vector<centralita_message_key> raw_keys;
        for (const auto& key : keys) {
            raw_keys.push_back(key.raw());
        }
        detail::check([&](auto err) { return centralita_session_mark_read(raw(), raw_keys.data(), raw_keys.size(), nullptr, err); });
    }
    void set_typing(std::string_view to, bool composing)
    {
        detail::check([&](auto err) { return centralita_session_set_typing(raw(), str(to), composing ? 1 : 0, nullptr, err); });
    }
    std::string messages(const std::string& query_json = "{}") const
    {
        return detail::text([&](auto out, auto err) { return centralita_session_messages(raw(), str(std::string_view(query_json)), nullptr, out, err); });
    }
    std::string chats(const std::string& query_json = "{}") const
    {
        return detail::text([&](auto out, auto err) { return centralita_session_chats(raw(), str(std::string_view(query_json)), nullptr, out, err); });
    }
    void stop() { run(centralita_session_stop); }
    void log_out() { run(centralita_session_log_out); }
    void remove() { run(centralita_session_delete); }

private:
    friend class Service;

    void run(int32_t (*call)(const centralita_session*, const centralita_async*, centralita_error**))
    {
        detail::check([&](auto err) { return call(raw(), nullptr, err); });
    }
    std::string text(int32_t (*call)(const centralita_session*, const centralita_async*, centralita_buf*, centralita_error**)) const
    {
        return detail::text([&](auto out, auto err) { return call(raw(), nullptr, out, err); });
    }
};

// The seed's SessionManager, with JSON in and out; an empty JSON argument stands for none. It uses the service's handle:
// keep that.
class Manager {
public:
    explicit Manager(const centralita_service* service) noexcept : service_(service) {}

    std::string create_or_update_session(std::string_view id, std::string_view data_json = {}) const
    {
        return ask([&](auto out, auto err) { return centralita_manager_create_or_update_session(service_, str(id), none_or(data_json), nullptr, out, err); });
    }
    std::string get_session(std::string_view id) const
    {
        return ask([&](auto out, auto err) { return centralita_manager_get_session(service_, str(id), nullptr, out, err); });
    }
    std::string list_sessions(std::string_view query_json = {}) const
    {
        return ask([&](auto out, auto err) { return centralita_manager_list_sessions(service_, none_or(query_json), nullptr, out, err); });
    }
    std::string count_sessions(std::string_view query_json = {}) const
    {
        return ask([&](auto out, auto err) { return centralita_manager_count_sessions(service_, none_or(query_json), nullptr, out, err); });
    }
    std::string get_active_sessions(std::string_view page_json = {}) const
    {
        return ask([&](auto out, auto err) { return centralita_manager_get_active_sessions(service_, none_or(page_json), nullptr, out, err); });
    }
    std::string get_connected_sessions(std::string_view page_json = {}) const
    {
        return ask([&](auto out, auto err) { return centralita_manager_get_connected_sessions(service_, none_or(page_json), nullptr, out, err); });
    }
    std::string get_problematic_sessions(uint32_t min_attempts, std::string_view page_json = {}) const
    {
        return ask([&](auto out, auto err) { return centralita_manager_get_problematic_sessions(service_, min_attempts, none_or(page_json), nullptr, out, err); });
    }
    std::string update_connection_status(std::string_view id, bool connected, std::string_view status, std::string_view metadata_json = {}) const
    {
        return ask([&](auto out, auto err) { return centralita_manager_update_connection_status(service_, str(id), connected ? 1 : 0, str(status), none_or(metadata_json), nullptr, out, err); });
    }
    std::string record_connection_attempt(std::string_view id, bool success, std::string_view reason = {}) const
    {
        return ask([&](auto out, auto err) { return centralita_manager_record_connection_attempt(service_, str(id), success ? 1 : 0, none_or(reason), nullptr, out, err); });
    }
    std::string update_qr_code(std::string_view id, std::string_view code = {}) const
    {
        return ask([&](auto out, auto err) { return centralita_manager_update_qr_code(service_, str(id), none_or(code), nullptr, out, err); });
    }
    std::string increment_message_count(std::string_view id, std::string_view direction) const
    {
        return ask([&](auto out, auto err) { return centralita_manager_increment_message_count(service_, str(id), str(direction), nullptr, out, err); });
    }
    std::string update_chat_count(std::string_view id) const
    {
        return ask([&](auto out, auto err) { return centralita_manager_update_chat_count(service_, str(id), nullptr, out, err); });
    }
    std::string update_health_check(std::string_view id, double memory_mb) const
    {
        return ask([&](auto out, auto err) { return centralita_manager_update_health_check(service_, str(id), memory_mb, nullptr, out, err); });
    }
    std::string mark_as_inactive(std::string_view id, std::string_view reason) const
    {
        return ask([&](auto out, auto err) { return centralita_manager_mark_as_inactive(service_, str(id), str(reason), nullptr, out, err); });
    }
    std::string delete_session(std::string_view id) const
    {
        return ask([&](auto out, auto err) { return centralita_manager_delete_session(service_, str(id), nullptr, out, err); });
    }
    std::string cleanup_inactive_sessions(uint32_t days, bool dry_run) const
    {
        return ask([&](auto out, auto err) { return centralita_manager_cleanup_inactive_sessions(service_, days, dry_run ? 1 : 0, nullptr, out, err); });
    }
    std::string get_statistics() const
    {
        return ask([&](auto out, auto err) { return centralita_manager_get_statistics(service_, nullptr, out, err); });
    }
    std::string reset_connection_attempts(std::string_view id) const
    {
        return ask([&](auto out, auto err) { return centralita_manager_reset_connection_attempts(service_, str(id), nullptr, out, err); });
    }

private:
    static centralita_str none_or(std::string_view text) { return text.empty() ? centralita_str{nullptr, 0} : str(text); }
    template <class Call>
    static std::string ask(Call&& call)
    {
        return detail::text(std::forward<Call>(call));
    }

    const centralita_service* service_;
};

// The seed's CleanupService; its rounds end when it is destroyed.
class Cleanup : public detail::Handle<centralita_cleanup, centralita_cleanup_free> {
public:
    using Handle::Handle;

    bool is_running() const noexcept { return centralita_cleanup_is_running(raw()); }
    void stop() { detail::check([&](auto err) { return centralita_cleanup_stop(raw(), nullptr, err); }); }
    std::string run_manual_cleanup(uint32_t days_inactive, bool dry_run)
    {
        return detail::text([&](auto out, auto err) {
            return centralita_cleanup_run_manual_cleanup(raw(), days_inactive, dry_run ? 1 : 0, nullptr, out, err);
        });
    }
    std::string get_health_report() const
    {
        return detail::text([&](auto out, auto err) { return centralita_cleanup_get_health_report(raw(), nullptr, out, err); });
    }
    uint64_t reset_problematic_sessions(uint32_t min_attempts)
    {
        return std::stoull(detail::text([&](auto out, auto err) {
            return centralita_cleanup_reset_problematic_sessions(raw(), min_attempts, nullptr, out, err);
        }));
    }

private:
    friend class Service;
};

// An event for a handler, and which attempt at it this is, from 1.
using Handler = std::function<void(EventView, uint32_t attempt)>;

// A named reader of durable events. One that is destroyed without a close is closed soon.
class Consumer : public detail::Handle<centralita_consumer, centralita_consumer_free> {
public:
    using Handle::Handle;

    std::string_view name() const noexcept { return view(centralita_consumer_name(raw())); }
    // An array of {"cursor","attempt","replayed","event"}, empty if nothing came in time.
    std::string next(uint32_t max, milliseconds patience)
    {
        return detail::text([&](auto out, auto err) { return centralita_consumer_next(raw(), max, patience.count(), nullptr, out, err); });
    }
    void ack(std::string_view cursor)
    {
        detail::check([&](auto err) { return centralita_consumer_ack(raw(), str(cursor), nullptr, err); });
    }
    void reject(std::string_view cursor, std::string_view reason)
    {
        detail::check([&](auto err) { return centralita_consumer_reject(raw(), str(cursor), str(reason), nullptr, err); });
    }
    // Has a function handle every event until stop(), here or on another thread. One that throws has failed: it is called
    // again after a pause, and after the last attempt the event becomes a dead letter.
    void run(centralita::Handler handle)
    {
        centralita_handler handler = CENTRALITA_HANDLER_INIT;
        // The library releases it exactly once, whatever becomes of the call.
        handler.user_data = new centralita::Handler(std::move(handle));
        handler.on_event = [](void* user_data, const centralita_event* event, uint32_t attempt) -> int32_t {
            try {
                (*static_cast<centralita::Handler*>(user_data))(EventView(event), attempt);
                return 0;
            } catch (...) {
                return 1;
            }
        };
        handler.drop = [](void* user_data) { delete static_cast<centralita::Handler*>(user_data); };
        detail::check([&](auto err) { return centralita_consumer_run(raw(), &handler, nullptr, err); });
    }
    void stop() { detail::check([&](auto err) { return centralita_consumer_stop(raw(), err); }); }
    void close() { detail::check([&](auto err) { return centralita_consumer_close(raw(), nullptr, err); }); }

private:
    friend class Service;
};

// How far a restore has come; valid during the call.
using Progress = std::function<void(const centralita_restore_step&)>;

// The figures of all services of the process for Prometheus; see the option `metrics`.
inline std::string metrics_text()
{
    return detail::text([](auto out, auto err) { return centralita_metrics_text(out, err); });
}

class Config : public detail::Handle<centralita_config, centralita_config_free> {
public:
    Config() { detail::check([&](auto err) { return centralita_config_new(out(), err); }); }
    Config& set(std::string_view name, std::string_view value)
    {
        detail::check([&](auto err) { return centralita_config_set(raw(), str(name), str(value), err); });
        return *this;
    }
};

class Service : public detail::Handle<centralita_service, centralita_service_free> {
public:
    // A path of an SQLite file, mongodb://…, or memory:.
    explicit Service(std::string_view store) { open(store, nullptr); }
    Service(std::string_view store, Config config) { open(store, config.raw()); }

    Session create_session(std::string_view id) { return session(centralita_session_create, id); }
    Session start_session(std::string_view id) { return session(centralita_session_start, id); }
    Session get_session(std::string_view id) { return session(centralita_session_get, id); }

    Manager manager() const noexcept { return Manager(raw()); }
    Cleanup start_cleanup(std::string_view options_json = "{}")
    {
        Cleanup cleanup;
        detail::check([&](auto err) { return centralita_cleanup_start(raw(), str(options_json), cleanup.out(), err); });
        return cleanup;
    }

    // Gives the report as JSON.
    std::string restore(Progress progress = nullptr)
    {
        return with_progress(std::move(progress), [&](auto watch, auto out, auto err) {
            return centralita_service_restore(raw(), watch, nullptr, out, err);
        });
    }
    // And waits until every session that was started is connected or has ended, or the patience is over.
    std::string restore_and_wait(milliseconds patience, Progress progress = nullptr)
    {
        return with_progress(std::move(progress), [&](auto watch, auto out, auto err) {
            return centralita_service_restore_and_wait(raw(), patience.count(), watch, nullptr, out, err);
        });
    }

    std::string_view instance_id() const noexcept { return view(centralita_service_instance_id(raw())); }
    std::string running_sessions() const
    {
        return detail::text([&](auto out, auto err) { return centralita_service_running_sessions(raw(), out, err); });
    }
    // New master keys: see centralita_service_rewrap_keys.
    std::string rewrap_keys()
    {
        return detail::text([&](auto out, auto err) { return centralita_service_rewrap_keys(raw(), nullptr, out, err); });
    }
    // As JSON; the same without it: figures().
    std::string health() const
    {
        return detail::text([&](auto out, auto err) { return centralita_service_health(raw(), out, err); });
    }
    centralita_service_figures figures() const
    {
        centralita_service_figures figures = CENTRALITA_SERVICE_FIGURES_INIT;
        detail::check([&](auto err) { return centralita_service_get_figures(raw(), &figures, err); });
        return figures;
    }

    Consumer open_consumer(std::string_view name, std::string_view options_json = "{}")
    {
        Consumer consumer;
        detail::check([&](auto err) { return centralita_consumer_open(raw(), str(name), str(options_json), nullptr, consumer.out(), err); });
        return consumer;
    }
    std::string consumers() const
    {
        return detail::text([&](auto out, auto err) { return centralita_consumers(raw(), nullptr, out, err); });
    }
    void delete_consumer(std::string_view name)
    {
        detail::check([&](auto err) { return centralita_consumer_delete(raw(), str(name), nullptr, err); });
    }
    std::string dead_letters(std::string_view consumer, std::string_view page_json = "{}") const
    {
        return detail::text([&](auto out, auto err) { return centralita_dead_letters(raw(), str(consumer), str(page_json), nullptr, out, err); });
    }
    // Of one event, or without a session of all; gives how many.
    uint64_t replay_dead_letters(std::string_view consumer, const std::optional<std::string>& session = std::nullopt, uint64_t seq = 0)
    {
        return std::stoull(detail::text([&](auto out, auto err) {
            return centralita_dead_letters_replay(raw(), str(consumer), optional_str(session), seq, nullptr, out, err);
        }));
    }
    uint64_t discard_dead_letters(std::string_view consumer, const std::optional<std::string>& session = std::nullopt, uint64_t seq = 0)
    {
        return std::stoull(detail::text([&](auto out, auto err) {
            return centralita_dead_letters_discard(raw(), str(consumer), optional_str(session), seq, nullptr, out, err);
        }));
    }
    void shutdown(milliseconds patience)
    {
        detail::check([&](auto err) { return centralita_service_shutdown(raw(), patience.count(), nullptr, err); });
    }

    // Events by `next`.
    Subscription subscribe(const SubscriptionOptions& options = {}) { return subscribe(options, nullptr); }

    // Events by a function, on a thread of the subscription's own, one at a time. Destroying the subscription waits for
    // a running call, unless it is destroyed inside of one.
    Subscription subscribe(std::function<void(EventView)> on_event, SubscriptionOptions options = {})
    {
        auto target = std::make_unique<Target>(Target{std::move(on_event), std::move(options.on_exception)});
        return subscribe(options, std::move(target));
    }

private:
    struct Target {
        std::function<void(EventView)> on_event;
        std::function<void(std::exception_ptr)> on_exception;
    };

    template <class Call>
    std::string with_progress(Progress progress, Call&& call)
    {
        centralita_progress watch = CENTRALITA_PROGRESS_INIT;
        if (!progress) {
            return detail::text([&](auto out, auto err) { return call(static_cast<const centralita_progress*>(nullptr), out, err); });
        }
        watch.user_data = new Progress(std::move(progress));
        watch.on_progress = [](void* user_data, const centralita_restore_step* step) {
            try {
                (*static_cast<Progress*>(user_data))(*step);
            } catch (...) {
                // It must not leave the callback, and it changes nothing about the restore.
            }
        };
        watch.drop = [](void* user_data) { delete static_cast<Progress*>(user_data); };
        return detail::text([&](auto out, auto err) { return call(static_cast<const centralita_progress*>(&watch), out, err); });
    }

    void open(std::string_view store, centralita_config* config)
    {
        detail::check([&](auto err) { return centralita_service_open(str(store), config, out(), err); });
    }

    using SessionCall = int32_t (*)(const centralita_service*, centralita_str, const centralita_async*, centralita_session**, centralita_error**);
    Session session(SessionCall call, std::string_view id)
    {
        Session session;
        detail::check([&](auto err) { return call(raw(), str(id), nullptr, session.out(), err); });
        return session;
    }

    Subscription subscribe(const SubscriptionOptions& options, std::unique_ptr<Target> target)
    {
        std::vector<centralita_str> ids;
        for (const auto& id : options.sessions) {
            ids.push_back(str(id));
        }
        centralita_sink sink = CENTRALITA_SINK_INIT;
        sink.capacity = options.capacity;
        sink.overflow = static_cast<int32_t>(options.overflow);
        sink.session_ids = ids.data();
        sink.session_count = ids.size();
        if (target) {
            // The library releases it exactly once, whatever becomes of the call.
            sink.user_data = target.release();
            sink.on_event = [](void* user_data, const centralita_event* event) {
                auto& handler = *static_cast<Target*>(user_data);
                try {
                    handler.on_event(EventView(event));
                } catch (...) {
                    try {
                        if (handler.on_exception) {
                            handler.on_exception(std::current_exception());
                        }
                    } catch (...) {
                    }
                }
            };
            sink.drop = [](void* user_data) { delete static_cast<Target*>(user_data); };
        }
        Subscription subscription;
        detail::check([&](auto err) { return centralita_subscribe(raw(), &sink, subscription.out(), err); });
        return subscription;
    }
};

} // namespace centralita

#endif
