#include "world.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    if (value == NULL) {
        fprintf(stderr, "%s is not set: run the tests with ./test ffi\n", name);
        exit(1);
    }
    return value;
}

int stand_in(const char *path, const char *body, char *answer, size_t size)
{
    int port = 0;
    CHECK(sscanf(variable("STAND_IN_ADMIN"), "http://127.0.0.1:%d", &port) == 1);
    struct sockaddr_in address = { 0 };
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);

    char request[8192];
    int length = snprintf(request, sizeof request,
                          "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
                          "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                          body ? "POST" : "GET", path, body ? strlen(body) : 0, body ? body : "");
    CHECK(length > 0 && (size_t)length < sizeof request);
    for (int sent = 0; sent < length;) {
        ssize_t n = write(fd, request + sent, (size_t)(length - sent));
        CHECK(n > 0);
        sent += (int)n;
    }
    size_t capacity = 1 << 20, have = 0;
    char *all = malloc(capacity + 1);
    CHECK(all != NULL);
    for (ssize_t n; (n = read(fd, all + have, capacity - have)) > 0;) {
        have += (size_t)n;
    }
    all[have] = '\0';
    close(fd);
    int code = 0;
    CHECK(sscanf(all, "HTTP/1.1 %d", &code) == 1);
    char *text = strstr(all, "\r\n\r\n");
    CHECK(text != NULL);
    if (answer != NULL) {
        snprintf(answer, size, "%s", text + 4);
    }
    free(all);
    return code;
}

void add_phone(const char *push_name, char *number, size_t size)
{
    char body[256], answer[8192];
    snprintf(body, sizeof body, "{\"push_name\":\"%s\"}", push_name);
    int code = stand_in("/admin/phones", body, answer, sizeof answer);
    CHECK(code >= 200 && code < 300);
    const char *found = strstr(answer, "\"phone_number\":\"");
    CHECK(found != NULL);
    found += strlen("\"phone_number\":\"");
    size_t digits = strspn(found, "0123456789");
    CHECK(digits > 0 && digits < size);
    memcpy(number, found, digits);
    number[digits] = '\0';
}

void phone_sends(const char *from, const char *to, const char *text)
{
    char path[128], body[1024], answer[1024];
    snprintf(path, sizeof path, "/admin/phones/%s/send", from);
    snprintf(body, sizeof body, "{\"to\":\"%s\",\"text\":\"%s\"}", to, text);
    int code = stand_in(path, body, answer, sizeof answer);
    CHECK(code >= 200 && code < 300);
}

bool phone_receives(const char *phone, int count, char *answer, size_t size)
{
    char path[128];
    snprintf(path, sizeof path, "/admin/phones/%s/received?count=%d&timeout_ms=%d", phone, count, PATIENCE_MS);
    return stand_in(path, NULL, answer, size) == 200;
}

static void set(centralita_config *config, const char *name, const char *value)
{
    centralita_error *err = NULL;
    OK(centralita_config_set(config, centralita_cstr(name), centralita_cstr(value), &err));
}

centralita_config *test_config(void)
{
    centralita_config *config = NULL;
    centralita_error *err = NULL;
    OK(centralita_config_new(&config, &err));
    set(config, "stand_in_url", variable("STAND_IN_WS"));
    set(config, "keys", "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    set(config, "whatsapp_version", "2.3000.1027934701");
    set(config, "pre_key_count", "30");
    set(config, "reconnect_min_ms", "50");
    set(config, "reconnect_max_ms", "400");
    set(config, "penalty_min_ms", "300");
    set(config, "lease_duration_ms", "10000");
    set(config, "worker_threads", "2");
    return config;
}

static centralita_service *open_with(const char *store, centralita_config *config)
{
    centralita_service *service = NULL;
    centralita_error *err = NULL;
    OK(centralita_service_open(centralita_cstr(store), config, &service, &err));
    centralita_config_free(&config);
    return service;
}

centralita_service *open_service(const char *store)
{
    return open_with(store, test_config());
}

centralita_service *open_durable_service(const char *store)
{
    centralita_config *config = test_config();
    set(config, "durable_events", "true");
    return open_with(store, config);
}

void link_session(centralita_session *session, const char *phone)
{
    centralita_link *link = NULL;
    centralita_link_step *step = NULL;
    centralita_error *err = NULL;
    char path[128], answer[1024];
    snprintf(path, sizeof path, "/admin/phones/%s/scan-qr", phone);
    OK(centralita_session_link(session, &link, &err));
    bool scanned = false;
    for (;;) {
        OK(centralita_link_next(link, PATIENCE_MS, &step, &err));
        int32_t type = centralita_link_step_type(step);
        if (type == CENTRALITA_LINK_QR && !scanned) {
            char qr[1024];
            centralita_str text = centralita_link_step_text(step);
            snprintf(qr, sizeof qr, "%.*s", (int)text.len, text.ptr);
            CHECK(stand_in(path, qr, answer, sizeof answer) == 200);
            scanned = true;
        }
        centralita_link_step_free(&step);
        if (type == CENTRALITA_LINK_LINKED) {
            break;
        }
        CHECK(type == CENTRALITA_LINK_QR);
    }
    STATUS(CENTRALITA_END, centralita_link_next(link, PATIENCE_MS, &step, &err));
    centralita_link_free(&link);
    OK(centralita_session_wait_connected(session, PATIENCE_MS, NULL, &err));
}

static char folder[64];

static void remove_folder(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command) != 0) {
        fprintf(stderr, "cannot remove %s\n", folder);
    }
}

const char *temporary_folder(void)
{
    if (folder[0] == '\0') {
        strcpy(folder, "/tmp/centralita-c.XXXXXX");
        CHECK(mkdtemp(folder) != NULL);
        atexit(remove_folder);
    }
    return folder;
}
