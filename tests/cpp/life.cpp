// The C++ header: moves, exceptions, handlers that throw, pulling, a session's life on the stand-in.
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <type_traits>

#include "centralita.hpp"
extern "C" {
#include "world.h"
}

namespace wa = centralita;
using namespace std::chrono_literals;

#define CHECK(condition)                                                                 \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            std::fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition); \
            std::exit(1);                                                                \
        }                                                                                \
    } while (0)

template <class Call>
static int32_t thrown(Call&& call)
{
    try {
        call();
    } catch (const wa::Error& error) {
        CHECK(error.what()[0] != '\0' && !error.kind().empty());
        return error.code();
    }
    return CENTRALITA_OK;
}

static wa::Config config()
{
    wa::Config config;
    config.set("stand_in_url", std::getenv("STAND_IN_WS"))
        .set("keys", "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
        .set("whatsapp_version", "2.3000.1027934701")
        .set("pre_key_count", "30")
        .set("worker_threads", "2")
        .set("durable_events", "true");
    return config;
}

static_assert(!std::is_copy_constructible_v<wa::Service> && std::is_nothrow_move_constructible_v<wa::Service>);
static_assert(!std::is_copy_assignable_v<wa::Subscription> && std::is_nothrow_move_assignable_v<wa::Subscription>);

static void errors()
{
    CHECK(thrown([] { wa::Config().set("no_such_option", "1"); }) == CENTRALITA_INVALID);
    wa::Service service("memory:", config());
    CHECK(thrown([&] { service.get_session("nobody"); }) == CENTRALITA_NOT_FOUND);
    CHECK(thrown([&] { service.create_session("../etc"); }) == CENTRALITA_INVALID);
    CHECK(thrown([&] { wa::qr(std::string(3000, 'x')); }) == CENTRALITA_INVALID);
    wa::Service moved(std::move(service));
    CHECK(!service && moved);
    CHECK(thrown([&] { service.create_session("a"); }) == CENTRALITA_INVALID);
    auto manager = moved.manager();
    CHECK(manager.create_or_update_session("a", "{\"name\":\"Ana\"}").find("\"name\":\"Ana\"") != std::string::npos);
    CHECK(manager.record_connection_attempt("a", false).find("\"connectionAttempts\":1") != std::string::npos);
    CHECK(manager.count_sessions() == "1");
    auto cleanup = moved.start_cleanup();
    CHECK(cleanup.is_running() && cleanup.reset_problematic_sessions(1) == 1);
    CHECK(cleanup.get_health_report().find("\"running\":true") != std::string::npos);
    cleanup.stop();
    CHECK(!cleanup.is_running());
    moved.shutdown(10s);
    CHECK(thrown([&] { moved.create_session("a"); }) == CENTRALITA_CLOSED);
}

// A handler that throws has failed; the event comes again, then becomes a dead letter.
static void durable(wa::Service& service)
{
    auto consumer = service.open_consumer("crm", R"({"maxAttempts":2,"minPauseMs":1,"maxPauseMs":2})");
    CHECK(consumer.name() == "crm" && thrown([&] { consumer.ack("x"); }) == CENTRALITA_INVALID);
    CHECK(thrown([&] { service.open_consumer("crm"); }) == CENTRALITA_CONFLICT);
    auto released = std::make_shared<int>(0);
    std::atomic<uint32_t> attempts{0};
    std::atomic<bool> handled{false};
    consumer.run([&, released](wa::EventView event, uint32_t attempt) {
        if (event.text() == "hola") {
            attempts = attempt;
            throw std::runtime_error("no");
        }
        // What came after it in the same session, so it was put aside.
        if (attempts == 2 && !handled) {
            handled = true;
            consumer.stop();
        }
    });
    CHECK(attempts == 2 && handled && released.use_count() == 1);
    CHECK(service.dead_letters("crm").find("handler answered 1") != std::string::npos);
    CHECK(service.replay_dead_letters("crm") == 1);
    const auto batch = consumer.next(1, 60s);
    CHECK(batch.find("\"replayed\":true") != std::string::npos);
    CHECK(service.discard_dead_letters("crm") == 1);
    consumer.close();
    CHECK(service.consumers().find("\"name\":\"crm\"") != std::string::npos);
    service.delete_consumer("crm");
    CHECK(thrown([&] { service.dead_letters("crm"); }) == CENTRALITA_NOT_FOUND);
}

int main()
{
    errors();
    char phone[32], contact[32], answer[65536];
    add_phone("Ventas", phone, sizeof phone);
    add_phone("Clienta", contact, sizeof contact);
    wa::Service service("memory:", config());
    auto session = service.create_session("ventas");

    std::mutex lock;
    std::condition_variable changed;
    int messages = 0, exceptions = 0;
    wa::Event kept;
    auto released = std::make_shared<int>(0);
    wa::SubscriptionOptions options;
    options.overflow = wa::Overflow::Wait;
    options.on_exception = [&](std::exception_ptr) {
        std::lock_guard<std::mutex> guard(lock);
        exceptions++;
        changed.notify_all();
    };
    auto pulled = service.subscribe();
    auto pushed = service.subscribe(
        [&, released](wa::EventView event) {
            if (event.type() != CENTRALITA_EVENT_MESSAGE || event.from_me()) {
                return;
            }
            {
                std::lock_guard<std::mutex> guard(lock);
                kept = wa::Event(event);
                messages++;
                changed.notify_all();
            }
            session.send(wa::Outgoing::reply(*event.message_key(), "pong"));
            throw std::runtime_error("a handler may throw");
        },
        options);
    CHECK(released.use_count() == 2);

    auto link = session.link();
    bool scanned = false;
    while (auto step = link.next(60s)) {
        if (step->type() == CENTRALITA_LINK_QR && !scanned) {
            CHECK(wa::qr(step->text(), CENTRALITA_QR_SVG).find("<svg") == 0);
            const auto path = std::string("/admin/phones/") + phone + "/scan-qr";
            CHECK(stand_in(path.c_str(), std::string(step->text()).c_str(), answer, sizeof answer) == 200);
            scanned = true;
        }
        CHECK(step->type() == CENTRALITA_LINK_QR || step->type() == CENTRALITA_LINK_LINKED);
    }
    session.wait_connected(60s);
    CHECK(session.is_connected() && session.status() == CENTRALITA_STATUS_CONNECTED && session.id() == "ventas");

    phone_sends(contact, phone, "hola");
    {
        std::unique_lock<std::mutex> guard(lock);
        CHECK(changed.wait_for(guard, 60s, [&] { return messages == 1 && exceptions == 1; }));
        CHECK((*kept).text() == "hola" && (*kept).sender_name() == "Clienta");
    }
    CHECK(phone_receives(contact, 1, answer, sizeof answer));
    session.mark_read({*(*kept).message_key()});
    for (bool found = false; !found;) {
        auto event = pulled.next(60s);
        CHECK(event);
        found = (**event).text() == "hola";
    }
    const auto sent = session.send(wa::Outgoing::text(contact, "ñandú").idempotency_key("order-17").timeout(30s));
    CHECK(sent.find("\"repeated\":false") != std::string::npos);
    CHECK(session.record().find("\"status\":\"connected\"") != std::string::npos);
    CHECK(session.messages("{\"limit\":2}").find("\"items\":[{") != std::string::npos);

    CHECK(session.health().find("\"good\"") != std::string::npos && session.figures().link == CENTRALITA_VITAL_GOOD);
    CHECK(service.figures().connected == 1 && service.figures().breaker == CENTRALITA_BREAKER_CLOSED);
    CHECK(service.health().find("\"breaker\":\"closed\"") != std::string::npos);
    session.park();
    CHECK(session.is_parked() && service.figures().parked == 1);
    session.reconnect_now();
    session.wait_connected(60s);
    CHECK(!session.is_parked());
    CHECK(service.running_sessions() == "[\"ventas\"]" && !service.instance_id().empty());
    durable(service);

    session.stop();
    const auto later = wa::Outgoing::text(contact, "mañana").queue_until(std::chrono::system_clock::now() + 1h);
    CHECK(session.send(later).find("\"status\":\"queued\"") != std::string::npos);
    std::atomic<int> steps{0};
    const auto report = service.restore_and_wait(60s, [&](const centralita_restore_step& step) {
        steps++;
        CHECK(step.total == 1 && wa::view(step.session_id) == "ventas");
        throw std::runtime_error("a progress function may throw");
    });
    CHECK(steps == 2 && report.find("\"connected\":[\"ventas\"]") != std::string::npos);

    pushed = wa::Subscription();
    CHECK(released.use_count() == 1);
    pulled.close();
    CHECK(!pulled.next());
    session.remove();
    CHECK(thrown([&] { service.get_session("ventas"); }) == CENTRALITA_NOT_FOUND);
    service.shutdown(60s);
    std::printf("cpp life: ok\n");
    return 0;
}
