/* What a test expects; the first that fails ends it, with the place and the library's own words. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

#include "centralita.h"

#define CHECK(condition)                                                                  \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition);      \
            exit(1);                                                                      \
        }                                                                                 \
    } while (0)

static inline void check_status(int32_t got, int32_t wanted, centralita_error **err, const char *what,
                                const char *file, int line)
{
    if (got != wanted) {
        centralita_str message = centralita_error_message(err ? *err : NULL);
        fprintf(stderr, "%s:%d: %s: status %d, not %d: %.*s\n", file, line, what, got, wanted, (int)message.len,
                message.ptr ? message.ptr : "");
        exit(1);
    }
    if (err != NULL) {
        /* An error is there exactly if the status is one. */
        if ((*err != NULL) != (got > CENTRALITA_PENDING) || centralita_error_code(*err) != (*err ? got : 0)) {
            fprintf(stderr, "%s:%d: %s: status %d and the error disagree\n", file, line, what, got);
            exit(1);
        }
        centralita_error_free(err);
    }
}

/* Uses a variable `err`. */
#define STATUS(wanted, call) check_status((call), (wanted), &err, #call, __FILE__, __LINE__)
#define OK(call) STATUS(CENTRALITA_OK, call)

#endif
