// SPDX-License-Identifier: MIT
// server.c: commands on the server and the connection.

#include <stdio.h>
#include <stdlib.h>
#include "handlers.h"

void kv_do_ping(kv_call *call) {
  if (call->count > 2) {
    kv_reply_error(call, "ERR wrong number of arguments for 'ping' command");
  } else if (call->count == 2) {
    kv_reply_bulk(call, kv_arg(call, 1));
  } else {
    kv_reply_simple(call, "PONG");
  }
}
void kv_do_echo(kv_call *call) { kv_reply_bulk(call, kv_arg(call, 1)); }
void kv_do_select(kv_call *call) {
  int64_t index;
  if (!kv_integer(kv_arg(call, 1), &index)) {
    kv_reply_error(call, "ERR value is not an integer or out of range");
  } else if (index != 0) {
    kv_reply_error(call, "ERR DB index is out of range");
  } else {
    kv_reply_ok(call);
  }
}
void kv_do_quit(kv_call *call) {
  kv_reply_ok(call);
  call->c->closing = true;
}
_Atomic int kv_save_wish;
void kv_do_shutdown(kv_call *call) { // no reply: the connection ends
  bool save = call->count == 2 && kv_text_is(kv_arg(call, 1), "SAVE"), no_save = call->count == 2 && kv_text_is(kv_arg(call, 1), "NOSAVE");
  if (call->count > 1 && !save && !no_save) {
    kv_reply_syntax(call);
    return;
  }
  kv_save_wish = save - no_save;
  call->c->closing = true;
  kv_stop();
}
void kv_do_reset(kv_call *call) {
  kv_client_name_set(call, NULL);
  kv_reply_simple(call, "RESET");
}
void kv_do_time(kv_call *call) {
  char text[32];
  kv_reply_array(call, 2);
  kv_reply_bulk(call, (kv_text){text, kv_integer_write(call->t->now_ms / 1000, text)});
  kv_reply_bulk(call, (kv_text){text, kv_integer_write(call->t->now_ms % 1000 * 1000, text)});
}

static void unknown_subcommand(kv_call *call) {
  kv_text word = kv_arg(call, 1);
  kv_reply_error(call, "ERR unknown subcommand '%.*s'. Try %s HELP.", (int)(word.length < 128 ? word.length : 128), word.at, call->command->name);
}
static bool subcommand(kv_call *call, const char *word, int least, int most) {
  return kv_text_is(kv_arg(call, 1), word) && call->count >= least && call->count <= most;
}

// ---- Names of clients.

static char *name_make(kv_call *call, kv_text text) {
  for (size_t i = 0; i < text.length; i++) {
    if (text.at[i] < '!' || text.at[i] > '~') {
      kv_reply_error(call, "ERR Client names cannot contain spaces, newlines or special characters.");
      return NULL;
    }
  }
  text.length = text.length < 63 ? text.length : 63;
  char *name = kv_new_bytes(call->t->self, text.length + 1);
  if (name == NULL) {
    kv_reply_no_memory(call);
    return NULL;
  }
  memcpy(name, text.at, text.length);
  name[text.length] = 0;
  return name;
}

void kv_do_hello(kv_call *call) {
  int64_t version = 2;
  if (call->count > 1 && (!kv_integer(kv_arg(call, 1), &version) || version != 2)) {
    kv_reply_error(call, "NOPROTO unsupported protocol version");
    return;
  }
  for (int i = 2; i < call->count; i++) {
    if (kv_text_is(kv_arg(call, i), "SETNAME") && i + 1 < call->count) {
      char *name = name_make(call, kv_arg(call, ++i));
      if (name == NULL) {
        return;
      }
      kv_client_name_set(call, name);
    } else {
      kv_reply_error(call, "ERR Syntax error in HELLO option");
      return;
    }
  }
  kv_reply_array(call, 14);
  kv_reply_text(call, "server");
  kv_reply_text(call, "redis"); // as clients expect it
  kv_reply_text(call, "version");
  kv_reply_text(call, KV_VERSION);
  kv_reply_text(call, "proto");
  kv_reply_integer(call, 2);
  kv_reply_text(call, "id");
  kv_reply_integer(call, (int64_t)call->c->id);
  kv_reply_text(call, "mode");
  kv_reply_text(call, "standalone");
  kv_reply_text(call, "role");
  kv_reply_text(call, "master");
  kv_reply_text(call, "modules");
  kv_reply_array(call, 0);
}

static void client_kill(kv_call *call) {
  int64_t id = 0;
  if (call->count == 3) {
    if (kv_client_kill(call, kv_arg(call, 2), 0)) {
      kv_reply_ok(call);
    } else {
      kv_reply_error(call, "ERR No such client");
    }
  } else if (kv_text_is(kv_arg(call, 2), "ID") && kv_integer(kv_arg(call, 3), &id) && id > 0) {
    kv_reply_integer(call, kv_client_kill(call, kv_arg(call, 3), (uint64_t)id));
  } else if (kv_text_is(kv_arg(call, 2), "ADDR")) {
    kv_reply_integer(call, kv_client_kill(call, kv_arg(call, 3), 0));
  } else {
    kv_reply_syntax(call);
  }
}

void kv_do_client(kv_call *call) {
  if (subcommand(call, "SETNAME", 3, 3)) {
    char *name = name_make(call, kv_arg(call, 2));
    if (name != NULL) {
      kv_client_name_set(call, name);
      kv_reply_ok(call);
    }
  } else if (subcommand(call, "GETNAME", 2, 2)) {
    if (call->c->name != NULL && *call->c->name) {
      kv_reply_text(call, call->c->name);
    } else {
      kv_reply_null(call);
    }
  } else if (subcommand(call, "ID", 2, 2)) {
    kv_reply_integer(call, (int64_t)call->c->id);
  } else if (subcommand(call, "INFO", 2, 2)) {
    char line[400];
    kv_client_line(call, call->c, line, sizeof line);
    kv_reply_text(call, line);
  } else if (subcommand(call, "LIST", 2, 4)) {
    kv_client_list(call);
  } else if (subcommand(call, "KILL", 3, 4)) {
    client_kill(call);
  } else if (subcommand(call, "SETINFO", 4, 4) || subcommand(call, "NO-EVICT", 3, 3) || subcommand(call, "NO-TOUCH", 3, 3)) {
    kv_reply_ok(call);
  } else {
    unknown_subcommand(call);
  }
}

// ---- COMMAND.

static void command_reply(kv_call *call, const kv_command *command) {
  if (command == NULL) {
    kv_reply_null_array(call);
    return;
  }
  static const struct {
    unsigned flag;
    const char *name;
  } flags[] = {{KV_WRITE, "write"}, {KV_DENYOOM, "denyoom"}, {KV_FAST, "fast"}, {KV_ADMIN, "admin"}};
  kv_reply_array(call, 6);
  kv_reply_text(call, command->name);
  kv_reply_integer(call, command->arity);
  kv_reply_array(call, (uint64_t)__builtin_popcount(command->flags) + !(command->flags & KV_WRITE));
  if (!(command->flags & KV_WRITE)) {
    kv_reply_simple(call, "readonly");
  }
  for (unsigned i = 0; i < sizeof flags / sizeof flags[0]; i++) {
    if (command->flags & flags[i].flag) {
      kv_reply_simple(call, flags[i].name);
    }
  }
  kv_reply_integer(call, command->first);
  kv_reply_integer(call, command->last);
  kv_reply_integer(call, command->step);
}

void kv_do_command(kv_call *call) {
  int count = 0;
  while (kv_command_at(count) != NULL) {
    count++;
  }
  if (call->count == 1) {
    kv_reply_array(call, (uint64_t)count);
    for (int i = 0; i < count; i++) {
      command_reply(call, kv_command_at(i));
    }
  } else if (subcommand(call, "COUNT", 2, 2)) {
    kv_reply_integer(call, count);
  } else if (subcommand(call, "DOCS", 2, INT32_MAX)) {
    kv_reply_array(call, 0); // none
  } else if (subcommand(call, "INFO", 2, INT32_MAX)) {
    kv_reply_array(call, (uint64_t)call->count - 2);
    for (int i = 2; i < call->count; i++) {
      command_reply(call, kv_command_find(kv_arg(call, i)));
    }
  } else {
    unknown_subcommand(call);
  }
}

// ---- CONFIG: what may be read, and what may be set as well.

typedef enum setting { NUMBER, BYTES, POLICY, FIXED } setting;
static const struct parameter {
  const char *name;
  setting kind;
  _Atomic uint64_t *value;
  const char *text;
} parameters[] = {
    {"maxmemory", BYTES, &kv_options_now.maxmemory, NULL},
    {"maxmemory-policy", POLICY, NULL, NULL},
    {"timeout", NUMBER, &kv_options_now.timeout_s, NULL},
    {"proto-max-bulk-len", BYTES, &kv_options_now.bulk_limit, NULL},
    {"output-limit", BYTES, &kv_options_now.output_limit, NULL},
    {"save", FIXED, NULL, NULL},
    {"dbfilename", FIXED, NULL, NULL},
    {"dir", FIXED, NULL, NULL},
    {"appendonly", FIXED, NULL, "no"},
    {"databases", FIXED, NULL, "1"},
};
enum { PARAMETERS = sizeof parameters / sizeof parameters[0], BULK_MOST = 512 << 20 };

// Of a parameter that cannot be changed: what the command line said, where that says it.
static const char *parameter_text(const struct parameter *p) {
  const kv_options *o = &kv_options_now;
  return p->text != NULL ? p->text : strcmp(p->name, "save") == 0 ? o->save : strcmp(p->name, "dir") == 0 ? o->directory : o->name;
}

static void parameter_reply(kv_call *call, const struct parameter *p) {
  char text[32];
  kv_reply_text(call, p->name);
  if (p->kind == POLICY) {
    kv_reply_text(call, kv_policy_names[kv_options_now.policy]);
  } else if (p->kind == FIXED) {
    kv_reply_text(call, parameter_text(p));
  } else {
    snprintf(text, sizeof text, "%llu", (unsigned long long)*p->value);
    kv_reply_text(call, text);
  }
}

static bool parameter_set(const struct parameter *p, kv_text value) {
  char text[64];
  uint64_t number;
  int policy;
  if (value.length >= sizeof text) {
    return false;
  }
  memcpy(text, value.at, value.length);
  text[value.length] = 0;
  if (p->kind == POLICY && kv_policy_parse(text, &policy)) {
    kv_options_now.policy = policy;
    return true;
  }
  if (p->kind == FIXED || p->kind == POLICY || !kv_size_parse(text, &number) || (p->value == &kv_options_now.bulk_limit && number > BULK_MOST)) {
    return p->kind == FIXED && strcmp(parameter_text(p), text) == 0;
  }
  *p->value = number;
  return true;
}

static void config_get(kv_call *call) {
  bool wanted[PARAMETERS] = {false};
  uint64_t count = 0;
  for (int i = 2; i < call->count; i++) {
    for (int k = 0; k < PARAMETERS; k++) {
      bool match = !wanted[k] && kv_glob(kv_arg(call, i), (kv_text){parameters[k].name, strlen(parameters[k].name)});
      wanted[k] = wanted[k] || match;
      count += match;
    }
  }
  kv_reply_array(call, count * 2);
  for (int k = 0; k < PARAMETERS; k++) {
    if (wanted[k]) {
      parameter_reply(call, &parameters[k]);
    }
  }
}

static void config_set(kv_call *call) {
  for (int i = 2; i < call->count; i += 2) {
    const struct parameter *found = NULL;
    for (int k = 0; k < PARAMETERS; k++) {
      found = kv_text_is(kv_arg(call, i), parameters[k].name) ? &parameters[k] : found;
    }
    kv_text name = kv_arg(call, i);
    int length = (int)(name.length < 64 ? name.length : 64);
    if (found == NULL) {
      kv_reply_error(call, "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'", length, name.at);
      return;
    }
    if (!parameter_set(found, kv_arg(call, i + 1))) {
      kv_reply_error(call, "ERR CONFIG SET failed (possibly related to argument '%.*s') - argument couldn't be parsed or may not be set", length, name.at);
      return;
    }
  }
  kv_reply_ok(call);
}

void kv_do_config(kv_call *call) {
  if (subcommand(call, "GET", 3, INT32_MAX)) {
    config_get(call);
  } else if (subcommand(call, "SET", 4, INT32_MAX) && call->count % 2 == 0) {
    config_set(call);
  } else if (subcommand(call, "RESETSTAT", 2, 2)) {
    kv_reply_ok(call);
  } else {
    unknown_subcommand(call);
  }
}

// ---- Looking inside.

void kv_do_memory(kv_call *call) {
  if (!subcommand(call, "USAGE", 3, 5)) {
    unknown_subcommand(call);
    return;
  }
  kv_key key;
  kv_key_lock(call, &key, kv_arg(call, 2));
  if (key.item != NULL) {
    kv_reply_integer(call, (int64_t)(kv_item_bytes(key.item) + kv_item_inner(key.item)));
  } else {
    kv_reply_null(call);
  }
  kv_key_unlock(&key);
}

void kv_do_debug(kv_call *call) {
  double seconds;
  if (subcommand(call, "SLEEP", 3, 3)) {
    if (kv_double(kv_arg(call, 2), &seconds) && seconds >= 0 && seconds < 1e6) {
      kv_sleep(call->t->self, (uint64_t)(seconds * 1e9));
      kv_reply_ok(call);
    } else {
      kv_reply_error(call, "ERR value is not a valid float");
    }
  } else if (subcommand(call, "COLLECT", 2, 2)) {
    kv_memory_collect(call->t->self);
    kv_reply_ok(call);
  } else {
    unknown_subcommand(call);
  }
}

void kv_do_info(kv_call *call) {
  kv_self *self = call->t->self;
  size_t room = 8192;
  char *text = kv_new_bytes(self, room);
  if (text == NULL || call->count > 2) {
    kv_drop(self, text);
    kv_reply_error(call, text == NULL ? "OOM no memory for a reply" : "ERR syntax error");
    return;
  }
  size_t length = kv_info_text(call->t, text, room, call->count == 2 ? kv_arg(call, 1) : (kv_text){"all", 3});
  kv_reply_bulk(call, (kv_text){text, length < room ? length : room - 1});
  kv_drop(self, text);
}
