/* A PKCS#11 module that stands before SoftHSM, counts the logins and can refuse them as locked. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long rv;
typedef rv (*function)(void);

enum { C_LOGIN = 18, FUNCTIONS = 68, CKR_PIN_LOCKED = 0xA4, CKR_GENERAL_ERROR = 5 };

/* CK_FUNCTION_LIST: a version of two bytes, and the functions. */
struct list {
    unsigned char version[2];
    function functions[FUNCTIONS];
};

static struct list ours;
static rv (*login)(unsigned long, unsigned long, unsigned char *, unsigned long);

static rv counted_login(unsigned long session, unsigned long user, unsigned char *pin, unsigned long len) {
    FILE *count = fopen(getenv("COUNT_LOGINS_IN"), "a");
    if (count) {
        fputs("login\n", count);
        fclose(count);
    }
    return getenv("LOCKED") ? CKR_PIN_LOCKED : login(session, user, pin, len);
}

__attribute__((visibility("default"))) rv C_GetFunctionList(struct list **list) {
    void *module = dlopen(getenv("BEHIND"), RTLD_NOW);
    rv (*get)(struct list **) = module ? (rv(*)(struct list **))dlsym(module, "C_GetFunctionList") : 0;
    struct list *theirs;
    if (!get || get(&theirs))
        return CKR_GENERAL_ERROR;
    memcpy(&ours, theirs, sizeof ours);
    login = (rv(*)(unsigned long, unsigned long, unsigned char *, unsigned long))theirs->functions[C_LOGIN];
    ours.functions[C_LOGIN] = (function)counted_login;
    *list = &ours;
    return 0;
}
