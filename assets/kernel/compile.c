// SPDX-License-Identifier: Apache-2.0
/*
 * Runs a compiler of Linux and narrows the dependency file that it writes.
 *
 *	KATA_OPTIONS=FOLDER compile COMPILER ARGUMENT...
 *
 * Everything in Linux includes include/generated/autoconf.h, which defines all
 * options. In the dependency file (-Wp,-MMD,FILE), this program replaces that header
 * with FOLDER/NAME.so for each option CONFIG_NAME that the arguments, the source or
 * its headers mention, like Linux's own scripts/basic/fixdep. FOLDER has a file with
 * the definition of each option (build.sh writes them). So ccache, in depend mode,
 * finds an object again although other options have changed. Where this program
 * cannot tell which options are used, it leaves the header in. The names end in .so
 * because fixdep, which reads the dependency file next, does not open such files.
 *
 * The assembler also reads files, and writes no dependencies. This program adds what
 * .include reads. An object with an .incbin must not be cached: it gets a dependency
 * on FOLDER/.uncached, which holds a macro that makes ccache leave the object out.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BUCKETS 4096

extern char **environ;

/* An option by its name, or a file by its path. */
struct entry {
	struct entry *next;
	const char *text;
	size_t length;
	bool option;		/* this Linux has such an option */
	bool done;		/* the dependency file has it */
	unsigned int source;	/* the last source or header that mentions it */
	const char *memo;	/* what the memo says of this file */
};

static struct entry *names[BUCKETS], *paths[BUCKETS];

/* The compiler's command, and the folder of the options. */
static char **command;
static const char *folder;

/* What the dependency file gets: options in place of the header, and other files. */
static FILE *options, *others;

/* Whether some option cannot be recognized, or the folder is out of date. */
static bool unclear;

/* The source or header that is being scanned, and its line of the memo, if any. */
static unsigned int source;
static FILE *line;
static bool special;

/* New lines of the memo. */
static FILE *memo;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static FILE *open_text(char **text)
{
	static size_t size;
	FILE *file = open_memstream(text, &size);

	if (!file)
		die("open_memstream");
	return file;
}

static char *read_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	ssize_t size;
	char *text;

	if (fd < 0 || fstat(fd, &st))
		die(path);
	text = malloc(st.st_size + 1);
	size = text ? read(fd, text, st.st_size) : -1;
	if (size < 0)
		die(path);
	text[size] = '\0';
	close(fd);
	return text;
}

/* Returns the entry of a text in a table, which keeps the text. */
static struct entry *find(struct entry **table, const char *text, size_t length)
{
	struct entry **bucket, *e;
	unsigned int hash = 5381;

	for (size_t i = 0; i < length; i++)
		hash = hash * 33 + (unsigned char)text[i];
	bucket = &table[hash % BUCKETS];
	for (e = *bucket; e; e = e->next)
		if (e->length == length && !memcmp(e->text, text, length))
			return e;
	e = calloc(1, sizeof(*e));
	if (!e)
		die("calloc");
	e->text = text;
	e->length = length;
	e->next = *bucket;
	return *bucket = e;
}

/* Uses an option. A name that is not an option of this Linux has no file. */
static void use(const char *text, size_t length)
{
	struct entry *name = find(names, text, length);

	if (!name->source) {
		char path[4096];

		snprintf(path, sizeof(path), "%s/%.*s.so", folder, (int)length, text);
		name->option = !access(path, F_OK);
	}
	if (name->option && !name->done)
		fprintf(options, " %s/%.*s.so", folder, (int)length, text);
	if (name->option && name->source != source && line)
		fprintf(line, " %.*s", (int)length, text);
	name->done = true;
	name->source = source;
}

/* Finds options. One that is m defines CONFIG_NAME_MODULE instead of CONFIG_NAME. */
static void scan_options(const char *text)
{
	static const char module[] = "_MODULE";
	const size_t suffix = strlen(module);

	while ((text = strstr(text, "CONFIG_"))) {
		size_t length = 0;

		text += strlen("CONFIG_");
		while (isalnum((unsigned char)text[length]) || text[length] == '_')
			length++;
		if (length)
			use(text, length);
		else if (text[strspn(text, " \t")] == '#')
			special = unclear = true; /* CONFIG_##name */
		if (length > suffix && !memcmp(text + length - suffix, module, suffix))
			use(text, length - suffix);
		text += length;
	}
}

static void scan_file(const char *path);

/* Adds what the assembler finds in its folders, which -Wa,-I names. */
static bool include(const char *name, size_t length)
{
	static const char flag[] = "-Wa,-I";

	for (char **arg = command; *arg; arg++) {
		char *path;

		if (strncmp(*arg, flag, strlen(flag)))
			continue;
		if (asprintf(&path, "%s/%.*s", *arg + strlen(flag), (int)length, name) < 0)
			die("asprintf");
		if (!access(path, R_OK)) {
			fprintf(others, " %s", path);
			scan_file(path);
			return true;
		}
		free(path);
	}
	return false;
}

static void scan_directives(const char *text)
{
	while ((text = strstr(text, ".inc"))) {
		bool found = true;

		text += strlen(".inc");
		if (!strncmp(text, "bin", 3)) {
			special = true;
			found = false;
		} else if (!strncmp(text, "lude", 4)) {
			const char *name = text + 4 + strspn(text + 4, " \t\\");

			special = true;
			if (*name++ == '"')
				found = include(name, strcspn(name, "\"\\\n"));
		}
		if (!found)
			fprintf(others, " %s/.uncached", folder);
	}
}

/*
 * The options that each file mentions are kept in FOLDER/.memo, as
 *
 *	PATH INODE SIZE SECONDS.NANOSECONDS NAME...
 *
 * with the time that the file was modified, so that the hundreds of headers of an
 * object are read once for all objects. Each run appends its lines in one write; what
 * others append meanwhile may be incomplete at the end. Files with something other
 * than options in them are special, and not kept.
 */
static void load_memo(const char *path)
{
	char *text = read_file(path), *end;

	for (; (end = strchr(text, '\n')); text = end + 1) {
		size_t length = strcspn(text, " \n");

		*end = '\0';
		find(paths, text, length)->memo = text + length;
	}
}

static void save_memo(const char *path, const char *text)
{
	ssize_t size = strlen(text);
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);

	if (fd < 0 || write(fd, text, size) != size || close(fd))
		die(path);
}

/* Uses the options of a file, if the memo has them for its present state. */
static bool recall(const char *name, const char *state)
{
	if (!name || strncmp(name, state, strlen(state)))
		return false;
	for (name += strlen(state); *name == ' ';) {
		size_t length = strcspn(++name, " ");

		use(name, length);
		name += length;
	}
	return true;
}

static void scan_file(const char *path)
{
	struct entry *known = find(paths, path, strlen(path));
	char state[128], *text, *names_of_file;
	FILE *outer = line;
	struct stat st;

	if (known->done)
		return;
	known->done = true;
	if (stat(path, &st))
		die(path);
	snprintf(state, sizeof(state), " %llu %lld %lld.%09ld",
		 (unsigned long long)st.st_ino, (long long)st.st_size,
		 (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	source++;
	line = NULL;
	if (!recall(known->memo, state)) {
		line = open_text(&names_of_file);
		text = read_file(path); /* names has pointers into it */
		special = false;
		scan_options(text);
		scan_directives(text);
		if (fclose(line))
			die("fclose");
		/* A source is read once: only headers are worth a line. */
		if (!special && path[strlen(path) - 1] == 'h')
			fprintf(memo, "%s%s%s\n", path, state, names_of_file);
		special = true; /* so is what includes it */
	}
	line = outer;
}

static bool newer(const char *path, const char *than)
{
	struct stat a, b;

	if (stat(path, &a) || stat(than, &b))
		return true;
	if (a.st_mtim.tv_sec != b.st_mtim.tv_sec)
		return a.st_mtim.tv_sec > b.st_mtim.tv_sec;
	return a.st_mtim.tv_nsec > b.st_mtim.tv_nsec;
}

static bool is_autoconf(const char *path)
{
	static const char autoconf[] = "include/generated/autoconf.h";
	size_t length = strlen(path);

	return length >= strlen(autoconf) && !strcmp(path + length - strlen(autoconf), autoconf);
}

/* Rewrites a dependency file: "TARGET: SOURCE HEADER...", with escaped newlines. */
static void narrow(const char *path)
{
	static const char blanks[] = " \t\n\\";
	char *text = read_file(path), *used, *also, *rest, *token;
	const char *header = NULL;
	FILE *out;

	options = open_text(&used);
	others = open_text(&also);
	source++;
	for (char **arg = command; *arg; arg++)
		scan_options(*arg);
	out = fopen(path, "w");
	if (!out)
		die(path);
	for (token = strtok_r(text, blanks, &rest); token; token = strtok_r(NULL, blanks, &rest)) {
		if (is_autoconf(token)) {
			unclear |= newer(token, folder);
			header = token;
			continue;
		}
		fprintf(out, "%s \\\n", token);
		if (token[strlen(token) - 1] != ':')
			scan_file(token);
	}
	if (fclose(options) || fclose(others))
		die("fclose");
	fprintf(out, " %s%s\n", !header ? "" : unclear ? header : used, also);
	if (fclose(out))
		die(path);
}

/* Returns the file of -Wp,-MMD,FILE or -Wp,-MD,FILE, NULL if there is none. */
static const char *dependency_file(void)
{
	for (char **arg = command; *arg; arg++) {
		if (!strncmp(*arg, "-Wp,-MMD,", 9))
			return *arg + 9;
		if (!strncmp(*arg, "-Wp,-MD,", 8))
			return *arg + 8;
	}
	return NULL;
}

int main(int argc, char *argv[])
{
	char memo_path[4096], *seen;
	const char *file;
	int status;
	pid_t pid;

	folder = getenv("KATA_OPTIONS");
	if (argc < 2 || !folder) {
		fprintf(stderr, "usage: KATA_OPTIONS=FOLDER compile COMPILER ARGUMENT...\n");
		return 2;
	}
	command = argv + 1;
	file = dependency_file();
	if (!file) {
		execvp(command[0], command);
		die(command[0]);
	}
	errno = posix_spawnp(&pid, command[0], NULL, NULL, command, environ);
	if (errno)
		die(command[0]);
	if (waitpid(pid, &status, 0) < 0)
		die("waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return WIFEXITED(status) ? WEXITSTATUS(status) : 1;

	snprintf(memo_path, sizeof(memo_path), "%s/.memo", folder);
	load_memo(memo_path);
	memo = open_text(&seen);
	narrow(file);
	if (fclose(memo))
		die("fclose");
	save_memo(memo_path, seen);
	return 0;
}
