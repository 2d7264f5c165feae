// Links a phone, prints its messages, answers /ping; ends cleanly at Ctrl-C.
//
//   bot [--store PATH|mongodb://…] [--stand-in ws://127.0.0.1:8080/ws/chat]
#include <centralita.hpp>

#include <csignal>
#include <iostream>
#include <pthread.h>
#include <string>

namespace wa = centralita;
using namespace std::chrono_literals;

static void link_phone(wa::Session& session, bool show_text)
{
    auto link = session.link();
    while (auto step = link.next()) {
        switch (step->type()) {
        case CENTRALITA_LINK_QR:
            std::cout << wa::qr(step->text());
            if (show_text) {
                std::cout << "qr " << step->text() << std::endl;
            }
            break;
        case CENTRALITA_LINK_TIMED_OUT:
            throw std::runtime_error("nobody used the code in time; start again for a new one");
        case CENTRALITA_LINK_FAILED:
            throw std::runtime_error(std::string(step->text()));
        default:
            break;
        }
    }
}

static void run(const std::string& store, const std::string& stand_in, const sigset_t& stop)
{
    wa::Config config;
    if (!stand_in.empty()) {
        config.set("stand_in_url", stand_in);
    }
    wa::Service service(store, std::move(config));
    auto session = service.create_session("ventas");
    auto events = service.subscribe([&session](wa::EventView event) {
        if (event.type() != CENTRALITA_EVENT_MESSAGE || event.from_me()) {
            return;
        }
        std::cout << event.sender_name() << ": " << event.text() << std::endl;
        if (event.text() == "/ping") {
            try {
                session.send(wa::Outgoing::reply(*event.message_key(), "pong"));
            } catch (const wa::Error& error) {
                std::cerr << "not answered: " << error.what() << std::endl;
            }
        }
    });
    link_phone(session, !stand_in.empty());
    std::cout << "connected" << std::endl;
    int signal = 0;
    sigwait(&stop, &signal);
    service.shutdown(10s);
    // The destructors free the rest: the subscription first, so that no event meets what is gone.
}

int main(int argc, char** argv)
{
    std::string store = "centralita.db", stand_in;
    for (int i = 1; i + 1 < argc; i += 2) {
        (std::string(argv[i]) == "--store" ? store : stand_in) = argv[i + 1];
    }
    // Before the library makes threads, so that none of them takes the signals.
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGINT);
    sigaddset(&stop, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &stop, nullptr);
    try {
        run(store, stand_in, stop);
    } catch (const std::exception& error) {
        std::cerr << "bot: " << error.what() << std::endl;
        return 1;
    }
    std::cout << "stopped" << std::endl;
    return 0;
}
