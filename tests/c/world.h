/* A stand-in with a phone to link and a contact, and a service on it. */
#ifndef WORLD_H
#define WORLD_H

#include <stdbool.h>

#include "centralita.h"

#define PATIENCE_MS 60000

/* The stand-in's HTTP API: sends a request, puts the body of the answer into `answer` and gives the status code.
 * `body` NULL makes it a GET. */
int stand_in(const char *path, const char *body, char *answer, size_t size);

/* Makes a phone and puts its number into `number`. */
void add_phone(const char *push_name, char *number, size_t size);

/* Has `from` send a text to `to`. */
void phone_sends(const char *from, const char *to, const char *text);

/* Waits until `phone` has received so many messages, and says whether they came in time. */
bool phone_receives(const char *phone, int count, char *answer, size_t size);

/* Options for tests: the stand-in, short pauses, few keys. Free them. */
centralita_config *test_config(void);

/* A service on `store`, with those options. */
centralita_service *open_service(const char *store);

/* The same, and it logs events for consumers. */
centralita_service *open_durable_service(const char *store);

/* Links `session` to `phone` by its QR code and waits until it is connected. */
void link_session(centralita_session *session, const char *phone);

/* A temporary folder, removed at exit. */
const char *temporary_folder(void);

#endif
