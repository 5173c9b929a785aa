// SPDX-License-Identifier: Apache-2.0
/*
 * Says why Linux did not take options as they were requested: linked with the
 * tree's own parser of Kconfig files, so that it knows what that knows.
 *
 * It is run as a "make config" of the tree (configure.sh says how), reads
 * .config and the requested lines in $REQUESTED_CONFIG, and prints
 *
 *	NAME			every option of the tree
 *	NAME	needs	TERM	a dependency of a requested option that is not met
 *	NAME	hidden		a requested option that has no prompt
 *	NAME	selects	TERM	what switches that on, or keeps this one from n
 *	NAME	choice	OTHER	the option that was taken instead of this one
 *	NAME	range	LOW HIGH	what a number must be between
 *	NAME	type	TYPE		what it is: a tristate is a bool in a kernel without modules
 *
 * with one tab between the fields. A TERM has the value behind each name:
 * "PCI [=n] && ACPI [=y]".
 */
#include <string.h>

#include "internal.h"
#include "lkc.h"

static void print(const char *name, const char *fact, const char *text)
{
	printf("%s\t%s\t%s\n", name, fact, text);
}

static void print_expr(const char *name, const char *fact, struct expr *e)
{
	struct gstr text = str_new();

	expr_gstr_print(e, &text);
	print(name, fact, str_get(&text));
	str_free(&text);
}

/* The terms of e, joined by AND, that are less than wanted. */
static void print_unmet(const char *name, struct expr *e, tristate wanted)
{
	if (!e || expr_calc_value(e) >= wanted)
		return;
	if (e->type == E_AND) {
		print_unmet(name, e->left.expr, wanted);
		print_unmet(name, e->right.expr, wanted);
		return;
	}
	print_expr(name, "needs", e);
}

/* The terms of e, joined by OR, that are as high as wanted at the least. */
static void print_met(const char *name, struct expr *e, tristate wanted)
{
	if (!e || expr_calc_value(e) < wanted)
		return;
	if (e->type == E_OR) {
		print_met(name, e->left.expr, wanted);
		print_met(name, e->right.expr, wanted);
		return;
	}
	print_expr(name, "selects", e);
}

static void print_choice(struct symbol *sym)
{
	struct menu *choice = sym_get_choice_menu(sym);
	struct symbol *chosen = choice ? sym_calc_choice(choice) : NULL;

	if (chosen && chosen != sym && chosen->name)
		print(sym->name, "choice", chosen->name);
}

static void print_range(struct symbol *sym)
{
	struct property *range = sym_get_range_prop(sym);

	if (range)
		printf("%s\trange\t%s %s\n", sym->name,
		       sym_get_string_value(range->expr->left.sym),
		       sym_get_string_value(range->expr->right.sym));
}

static void explain(struct symbol *sym, const char *value)
{
	struct property *prompt;
	tristate wanted = *value == 'm' ? mod : yes;
	bool prompted = false;

	sym_calc_value(sym);
	if (!strcmp(value, "n")) {
		print_met(sym->name, sym->rev_dep.expr, mod);
		return;
	}
	for_all_prompts(sym, prompt) {
		prompted = true;
		print_unmet(sym->name, prompt->visible.expr, wanted);
	}
	if (!prompted) {
		print(sym->name, "hidden", "");
		print_unmet(sym->name, sym->dir_dep.expr, wanted);
		if (sym->rev_dep.expr)
			print_expr(sym->name, "selects", sym->rev_dep.expr);
	}
	print_choice(sym);
	print_range(sym);
	print(sym->name, "type", sym_type_name(sym_get_type(sym)));
}

/* Takes a line of a .config apart; value points into it. */
static struct symbol *requested(char *line, const char **value)
{
	static const char prefix[] = "CONFIG_";
	char *name = strstr(line, prefix), *end;

	if (!name || strspn(line, "# ") != (size_t)(name - line))
		return NULL;
	name += strlen(prefix);
	end = name + strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
	*value = *end == '=' ? end + 1 : "n";
	*end = '\0';
	return sym_find(name);
}

/* sym_find also returns names that some expression uses and nothing defines. */
static bool defined(const struct symbol *sym)
{
	return sym && sym->name && sym->type != S_UNKNOWN && !(sym->flags & SYMBOL_CONST);
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct symbol *const *)a)->name, (*(struct symbol *const *)b)->name);
}

static void print_all(void)
{
	struct symbol *sym, **all = NULL;
	size_t count = 0;

	for_all_symbols(sym) {
		if (!defined(sym))
			continue;
		all = realloc(all, (count + 1) * sizeof(*all));
		if (!all)
			exit(1);
		all[count++] = sym;
	}
	qsort(all, count, sizeof(*all), by_name);
	for (size_t i = 0; i < count; i++)
		puts(all[i]->name);
}

int main(int argc, char *argv[])
{
	const char *path = getenv("REQUESTED_CONFIG");
	FILE *file = path ? fopen(path, "r") : NULL;
	char line[4096];
	const char *value;

	if (argc < 2 || !file) {
		fprintf(stderr, "usage: REQUESTED_CONFIG=FILE explain [-s] Kconfig\n");
		return 2;
	}
	conf_parse(argv[argc - 1]);
	if (conf_read(NULL))
		return 1;
	print_all();
	while (fgets(line, sizeof(line), file)) {
		struct symbol *sym;

		line[strcspn(line, "\n")] = '\0';
		sym = requested(line, &value);
		if (defined(sym) && strcmp(sym_get_string_value(sym), value))
			explain(sym, value);
	}
	fclose(file);
	return fflush(stdout) ? 1 : 0;
}
