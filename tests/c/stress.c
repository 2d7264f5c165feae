/* 10,000 subscribe/free cycles while messages flow: after free no callback, drop exactly once. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "world.h"

struct slot {
    atomic_int calls, drops, freed, late;
};

static char phone[32], contact[32];
static atomic_int stop_traffic;
static atomic_long sent;

static void *traffic(void *unused)
{
    (void)unused;
    while (!stop_traffic) {
        phone_sends(contact, phone, "x");
        sent++;
    }
    return NULL;
}

static void on_event(void *user_data, const centralita_event *event)
{
    struct slot *slot = user_data;
    if (slot->freed || slot->drops) {
        slot->late++;
    }
    slot->calls++;
    CHECK(centralita_event_json(event).len > 0);
    if (slot->freed || slot->drops) {
        slot->late++;
    }
}

static void drop(void *user_data)
{
    struct slot *slot = user_data;
    if (slot->freed) {
        slot->late++;
    }
    slot->drops++;
}

struct range {
    centralita_service *service;
    struct slot *slots;
    long count;
};

static void *cycles(void *argument)
{
    struct range *range = argument;
    for (long i = 0; i < range->count; i++) {
        centralita_error *err = NULL;
        centralita_subscription *subscription = NULL;
        centralita_sink sink = CENTRALITA_SINK_INIT;
        sink.user_data = &range->slots[i];
        sink.on_event = on_event;
        sink.drop = drop;
        sink.capacity = 4;
        sink.overflow = (int32_t)(i % 3);
        OK(centralita_subscribe(range->service, &sink, &subscription, &err));
        /* Some stay for a call. */
        for (int spin = 0; i % 50 == 0 && range->slots[i].calls == 0 && spin < 2000; spin++) {
            struct timespec us100 = { 0, 100000 };
            nanosleep(&us100, NULL);
        }
        centralita_subscription_free(&subscription);
        range->slots[i].freed = 1;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    long total = argc > 1 ? atol(argv[1]) : 10000;
    enum { THREADS = 4 };
    centralita_error *err = NULL;
    centralita_session *session = NULL;
    add_phone("Ventas", phone, sizeof phone);
    add_phone("Clienta", contact, sizeof contact);
    centralita_service *service = open_service("memory:");
    OK(centralita_session_create(service, CENTRALITA_STR("ventas"), NULL, &session, &err));
    link_session(session, phone);

    struct slot *slots = calloc((size_t)total, sizeof *slots);
    CHECK(slots != NULL);
    pthread_t sender, threads[THREADS];
    struct range ranges[THREADS];
    CHECK(pthread_create(&sender, NULL, traffic, NULL) == 0);
    for (int i = 0; i < THREADS; i++) {
        long first = total * i / THREADS, end = total * (i + 1) / THREADS;
        ranges[i] = (struct range){ service, slots + first, end - first };
        CHECK(pthread_create(&threads[i], NULL, cycles, &ranges[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    stop_traffic = 1;
    CHECK(pthread_join(sender, NULL) == 0);
    OK(centralita_service_shutdown(service, PATIENCE_MS, NULL, &err));
    centralita_session_free(&session);
    centralita_service_free(&service);

    long calls = 0;
    for (long i = 0; i < total; i++) {
        CHECK(slots[i].drops == 1);
        CHECK(slots[i].late == 0);
        calls += slots[i].calls;
    }
    CHECK(calls > 0);
    free(slots);
    printf("stress: ok, %ld cycles, %ld events in callbacks, %ld messages sent\n", total, calls, (long)sent);
    return 0;
}
