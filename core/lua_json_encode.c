// SPDX-License-Identifier: Apache-2.0
// Lua values to JSON text, in the form in which cJSON prints it. The text grows inside a holder, so that a
// raise at any point loses nothing.
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lua_args.h"
#include "lua_json.h"
#include "names.h"
#include "text.h"

#define VALUES_MAX 1000000 // a table that refers to another twice, and so on, doubles at every level

// A table that is being encoded, and which of its members is.
struct frame {
	const struct frame *up;
	const void *table;
	const char *key; // NULL in an array
	lua_Integer index;
	unsigned int depth;
};

struct encoder {
	lua_State *L;
	struct mn_lua_json *held;
	size_t used, room; // bytes of the text that is held
	bool pretty;
	unsigned int values;
};

// What a table has: names, whose values are on the stack when they are few, and numbers.
struct members {
	size_t named;
	lua_Integer numbered, lowest, highest;
	struct mn_name few[MN_NAMES_FEW];
};

// Writes the path of the member that is being encoded, such as ips[1].address.
static size_t write_path(const struct frame *frame, char *buf, size_t size)
{
	size_t used;
	int more;

	if (!frame) {
		buf[0] = '\0';
		return 0;
	}
	used = write_path(frame->up, buf, size);
	if (used + 1 >= size)
		return used;
	if (frame->key)
		more = snprintf(buf + used, size - used, "%s%s", used ? "." : "", frame->key);
	else
		more = snprintf(buf + used, size - used, "[" LUA_INTEGER_FMT "]", frame->index);
	for (char *c = buf + used; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	return used + (size_t)more < size ? used + (size_t)more : size - 1;
}

static int __attribute__((noreturn, format(printf, 3, 4)))
refuse(struct encoder *encoder, const struct frame *frame, const char *message, ...)
{
	struct mn_error err = { .op = "encode" };
	va_list args;

	write_path(frame, err.object, sizeof(err.object));
	va_start(args, message);
	vsnprintf(err.message, sizeof(err.message), message, args);
	va_end(args);
	mn_lua_raise(encoder->L, &err);
}

static int __attribute__((noreturn)) no_memory(struct encoder *encoder)
{
	struct mn_error err;

	mn_fail(&err, ENOMEM, "encode", NULL, NULL);
	mn_lua_raise(encoder->L, &err);
}

static void grow(struct encoder *encoder, size_t more)
{
	size_t room = 2 * encoder->room + more + 500;
	char *text = realloc(encoder->held->text, room);

	if (!text)
		no_memory(encoder);
	encoder->held->text = text;
	encoder->room = room;
}

// Room for more bytes at the end of the text; raises when there is none.
static inline char *reserve(struct encoder *encoder, size_t more)
{
	if (encoder->room - encoder->used < more)
		grow(encoder, more);
	return encoder->held->text + encoder->used;
}

static inline void put(struct encoder *encoder, const char *bytes, size_t len)
{
	memcpy(reserve(encoder, len), bytes, len);
	encoder->used += len;
}

static inline void put_char(struct encoder *encoder, char c)
{
	*reserve(encoder, 1) = c;
	encoder->used++;
}

// A new line, indented, where the text is for people.
static void put_line(struct encoder *encoder, unsigned int depth)
{
	if (!encoder->pretty)
		return;
	memset(reserve(encoder, depth + 1), '\t', depth + 1);
	encoder->held->text[encoder->used] = '\n';
	encoder->used += depth + 1;
}

static void put_quoted(struct encoder *encoder, const char *text, size_t len)
{
	size_t plain = 0;

	put_char(encoder, '"');
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c >= ' ' && c != '"' && c != '\\')
			continue;
		put(encoder, text + plain, i - plain);
		encoder->used += mn_json_escape(reserve(encoder, MN_JSON_ESCAPE), text[i]);
		plain = i + 1;
	}
	put(encoder, text + plain, len - plain);
	put_char(encoder, '"');
}

static void encode_integer(struct encoder *encoder, lua_Integer value)
{
	char *to = reserve(encoder, 1 + MN_DIGITS_MAX);

	encoder->used += (size_t)(mn_put_integer(to, value) - to);
}

// The shortest of the forms with 15 to 17 digits that reads back as the same number, and as a float.
static void encode_float(struct encoder *encoder, const struct frame *frame, double value)
{
	char text[40];

	if (!isfinite(value))
		refuse(encoder, frame, "%s has no JSON form",
			isnan(value) ? "not-a-number" : "an infinite number");
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	if (!strpbrk(text, ".,e"))
		snprintf(text + strlen(text), sizeof(text) - strlen(text), ".0");
	for (char *c = text; *c; c++)
		if (*c == ',') // the decimal point of another locale
			*c = '.';
	put(encoder, text, strlen(text));
}

// A text in quotes. Raises unless it can stand in JSON; what is "string" or "key".
static void put_text(
	struct encoder *encoder, const struct frame *frame, const char *what, const char *text, size_t len)
{
	size_t valid;
	char *to;

	if (mn_json_plain_span(text, len) == len) {
		to = reserve(encoder, len + 2);
		to[0] = to[len + 1] = '"';
		memcpy(to + 1, text, len);
		encoder->used += len + 2;
		return;
	}
	valid = mn_utf8_span(text, len);
	if (valid < len)
		refuse(encoder, frame, "the %s is not UTF-8 (byte 0x%02x at its offset %zu)", what,
			(unsigned int)(unsigned char)text[valid], valid);
	if (memchr(text, '\0', len))
		refuse(encoder, frame, "the %s has a zero byte in it", what);
	put_quoted(encoder, text, len);
}

static void encode_string(struct encoder *encoder, const struct frame *frame, int idx)
{
	size_t len;
	const char *text = lua_tolstring(encoder->L, idx, &len);

	put_text(encoder, frame, "string", text, len);
}

// Values of the core that print themselves, such as a cidr, are their text.
static void encode_userdata(struct encoder *encoder, const struct frame *frame, int idx)
{
	lua_State *L = encoder->L;

	luaL_checkstack(L, 6, "encode");
	if (luaL_getmetafield(L, idx, "__name") != LUA_TSTRING ||
		strncmp(lua_tostring(L, -1), "mncni.", 6) != 0 ||
		luaL_getmetafield(L, idx, "__tostring") == LUA_TNIL)
		refuse(encoder, frame, "a value of type %s has no JSON form", luaL_typename(L, idx));
	lua_pop(L, 2);
	luaL_tolstring(L, idx, NULL);
	encode_string(encoder, frame, -1);
	lua_pop(L, 1);
}

static void encode_value(struct encoder *encoder, const struct frame *frame, int idx);

static void encode_array(struct encoder *encoder, struct frame *frame, int idx, lua_Integer count)
{
	put_char(encoder, '[');
	for (frame->index = 1; frame->index <= count; frame->index++) {
		if (frame->index > 1)
			put_char(encoder, ',');
		if (frame->index > 1 && encoder->pretty)
			put_char(encoder, ' ');
		lua_rawgeti(encoder->L, idx, frame->index);
		encode_value(encoder, frame, lua_gettop(encoder->L));
		lua_pop(encoder->L, 1);
	}
	put_char(encoder, ']');
}

static void encode_object(
	struct encoder *encoder, struct frame *frame, int idx, struct mn_name *names, size_t count)
{
	lua_State *L = encoder->L;

	mn_names_sort(names, count);
	put_char(encoder, '{');
	for (size_t i = 0; i < count; i++) {
		int top = lua_gettop(L), value = names[i].at;

		frame->key = names[i].text;
		if (i > 0)
			put_char(encoder, ',');
		put_line(encoder, frame->depth);
		put_text(encoder, frame, "key", names[i].text, names[i].len);
		put_char(encoder, ':');
		if (encoder->pretty)
			put_char(encoder, '\t');
		if (value == 0) {
			lua_pushlstring(L, names[i].text, names[i].len);
			lua_rawget(L, idx);
			value = top + 1;
		}
		encode_value(encoder, frame, value);
		lua_settop(L, top);
	}
	put_line(encoder, frame->depth - 1);
	put_char(encoder, '}');
}

// Pushes room for the names of a table and returns them.
static struct mn_name *list_names(lua_State *L, int idx, size_t count)
{
	struct mn_name *names = lua_newuserdatauv(L, count * sizeof(*names), 0);
	size_t n = 0;

	for (lua_pushnil(L); lua_next(L, idx); n++) {
		lua_pop(L, 1);
		names[n] = (struct mn_name){ 0 };
		names[n].text = lua_tolstring(L, -1, &names[n].len);
	}
	return names;
}

static bool is_marked(lua_State *L, int idx)
{
	bool marked;

	if (!lua_getmetatable(L, idx))
		return false;
	luaL_getmetatable(L, MN_ARRAY_META);
	marked = lua_rawequal(L, -1, -2);
	lua_pop(L, 2);
	return marked;
}

// Goes through a table. The values of the first names stay on the stack.
static void look_through(struct encoder *encoder, const struct frame *up, int idx, struct members *members)
{
	lua_State *L = encoder->L;

	lua_pushnil(L);
	while (lua_next(L, idx)) {
		bool named = lua_type(L, -2) == LUA_TSTRING;

		if (named && members->named < MN_NAMES_FEW) {
			struct mn_name *name = &members->few[members->named];

			lua_insert(L, -2);
			name->text = lua_tolstring(L, -1, &name->len);
			name->at = lua_gettop(L) - 1;
		} else {
			lua_pop(L, 1);
		}
		if (named) {
			members->named++;
		} else if (lua_isinteger(L, -1)) {
			lua_Integer index = lua_tointeger(L, -1);

			members->numbered++;
			members->lowest = index < members->lowest ? index : members->lowest;
			members->highest = index > members->highest ? index : members->highest;
		} else {
			refuse(encoder, up, "a key of type %s has no JSON form", luaL_typename(L, -1));
		}
	}
}

// Which of the two a table is: marked or with elements 1..n an array, otherwise with names only an object.
static void encode_table(struct encoder *encoder, const struct frame *up, int idx)
{
	lua_State *L = encoder->L;
	struct frame frame = { .up = up, .table = lua_topointer(L, idx), .depth = up ? up->depth + 1 : 1 };
	struct members members = { .lowest = LUA_MAXINTEGER };
	int top = lua_gettop(L);

	for (const struct frame *outer = up; outer; outer = outer->up)
		if (outer->table == frame.table)
			refuse(encoder, up, "the table contains itself");
	if (frame.depth > MN_JSON_DEPTH)
		refuse(encoder, up, "nesting deeper than %d levels", MN_JSON_DEPTH);
	luaL_checkstack(L, MN_NAMES_FEW + 8, "encode");
	look_through(encoder, up, idx, &members);
	if (members.numbered > 0 || is_marked(L, idx)) {
		if (members.named > 0)
			refuse(encoder, up,
				"a table with names among its elements is neither array nor object");
		if (members.numbered > 0 && (members.lowest < 1 || members.highest != members.numbered))
			refuse(encoder, up,
				"an array of " LUA_INTEGER_FMT
				" elements whose indexes are not 1 to " LUA_INTEGER_FMT,
				members.numbered, members.numbered);
		encode_array(encoder, &frame, idx, members.numbered);
	} else if (members.named > MN_NAMES_FEW) {
		lua_settop(L, top);
		encode_object(encoder, &frame, idx, list_names(L, idx, members.named), members.named);
	} else {
		encode_object(encoder, &frame, idx, members.few, members.named);
	}
	lua_settop(L, top);
}

static void encode_value(struct encoder *encoder, const struct frame *frame, int idx)
{
	lua_State *L = encoder->L;

	if (++encoder->values > VALUES_MAX)
		refuse(encoder, frame, "more than %d values", VALUES_MAX);
	switch (lua_type(L, idx)) {
	case LUA_TBOOLEAN:
		put(encoder, lua_toboolean(L, idx) ? "true" : "false", lua_toboolean(L, idx) ? 4 : 5);
		break;
	case LUA_TNUMBER:
		if (lua_isinteger(L, idx))
			encode_integer(encoder, lua_tointeger(L, idx));
		else
			encode_float(encoder, frame, lua_tonumber(L, idx));
		break;
	case LUA_TSTRING:
		encode_string(encoder, frame, idx);
		break;
	case LUA_TTABLE:
		encode_table(encoder, frame, idx);
		break;
	case LUA_TUSERDATA:
		encode_userdata(encoder, frame, idx);
		break;
	case LUA_TLIGHTUSERDATA:
		if (!lua_touserdata(L, idx)) {
			put(encoder, "null", 4);
			break;
		}
		// fall through
	default:
		refuse(encoder, frame, "a value of type %s has no JSON form", luaL_typename(L, idx));
	}
}

// Keys are in byte order, so that equal values give equal text. Raises an error object that names the path of
// what has no JSON form: functions, infinite numbers, mixed or sparse tables, tables within themselves, text
// that is not UTF-8. A table without elements is {} unless it is marked as an array.
int mn_lua_json_encode(lua_State *L)
{
	static const char *const known[] = { "pretty", NULL };
	struct encoder encoder = { .L = L };

	lua_settop(L, 2);
	if (!lua_isnil(L, 2)) {
		mn_lua_check_keys(L, 2, "encode", known);
		lua_getfield(L, 2, "pretty");
		encoder.pretty = lua_toboolean(L, -1);
	}
	encoder.held = mn_lua_json_hold(L);
	encode_value(&encoder, NULL, 1);
	lua_pushlstring(L, encoder.held->text, encoder.used);
	mn_lua_json_release(encoder.held);
	return 1;
}

// What a journal has of a step, in order, and what stands for the first where there is that.
static const char *const fields[] = { "args", "net", "object", "shared", "verb", "where", "told" };
#define FIELDS 7

// Pushes a field of the step at that index. Their names are on the stack from index `first` on.
static int get_field(lua_State *L, int step, int first, int field)
{
	lua_pushvalue(L, first + field);
	return lua_rawget(L, step);
}

// {"step":{...},"undo":...} of the step at that index of the stack; undo is where its way back is, or false.
static void encode_step(struct encoder *encoder, int first, int step, int undo)
{
	const struct frame up = { .key = "step", .depth = 1 };
	struct frame frame = { .up = &up, .depth = 2 };
	lua_State *L = encoder->L;
	const char *before = "\"";

	put(encoder, "{\"step\":{", 9);
	for (int i = 0; i < FIELDS - 1; i++) {
		if (i > 0 || get_field(L, step, first, FIELDS - 1) == LUA_TNIL)
			get_field(L, step, first, i);
		if (!lua_isnil(L, -1)) {
			put(encoder, before, strlen(before));
			put(encoder, fields[i], strlen(fields[i]));
			put(encoder, "\":", 2);
			frame.key = fields[i];
			encode_value(encoder, &frame, lua_gettop(L));
			before = ",\"";
		}
		lua_settop(L, undo);
	}
	if (lua_toboolean(L, undo)) {
		put(encoder, "},\"undo\":", 9);
		encode_value(encoder, &(struct frame){ .key = "undo", .depth = 1 }, undo);
		put_char(encoder, '}');
	} else {
		put(encoder, "}}", 2);
	}
}

int mn_lua_json_steps(lua_State *L)
{
	struct encoder encoder = { .L = L };
	lua_Integer count;

	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_checktype(L, 2, LUA_TTABLE);
	lua_settop(L, 2);
	luaL_checkstack(L, FIELDS + 16, "encode");
	count = (lua_Integer)lua_rawlen(L, 1);
	encoder.held = mn_lua_json_hold(L);
	for (size_t i = 0; i < FIELDS; i++)
		lua_pushstring(L, fields[i]);
	for (lua_Integer i = 1; i <= count; i++) {
		if (i > 1)
			put_char(&encoder, '\n');
		lua_rawgeti(L, 1, i);
		luaL_checktype(L, FIELDS + 4, LUA_TTABLE);
		lua_rawgeti(L, 2, i);
		encode_step(&encoder, 4, FIELDS + 4, FIELDS + 5);
		lua_settop(L, FIELDS + 3);
	}
	lua_pushlstring(L, encoder.held->text, encoder.used);
	mn_lua_json_release(encoder.held);
	return 1;
}
