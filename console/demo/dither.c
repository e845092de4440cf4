/* Floyd-Steinberg dithering: a greyscale PGM on standard input, its dithered PGM on standard output.
 *
 *     dither PASSES < strip.pgm > dithered.pgm
 *
 * Every pass dithers the whole picture anew, so PASSES says how much work a strip is and nothing else.
 * dither.py computes the same pixels: integers alone, errors kept in sixteenths, shifts that round down.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_BYTES = 1 << 24 };

static unsigned char input[MOST_BYTES];

static int fail(const char *why)
{
	fprintf(stderr, "dither: %s\n", why);
	return 1;
}

static size_t read_all(void)
{
	size_t length = 0;

	while (length < sizeof input) {
		ssize_t count = read(0, input + length, sizeof input - length);
		if (count <= 0)
			break;
		length += (size_t)count;
	}
	return length;
}

static int write_all(const unsigned char *data, size_t length)
{
	while (length > 0) {
		ssize_t count = write(1, data, length);
		if (count <= 0)
			return -1;
		data += count;
		length -= (size_t)count;
	}
	return 0;
}

/* One pass. `errors` has room for two rows of width + 2: what this row and the next one owe, in 16ths. */
static void dither(const unsigned char *from, unsigned char *to, int width, int height, int *errors)
{
	int *here = errors, *below = errors + width + 2;

	memset(here, 0, (size_t)(width + 2) * sizeof *here);
	for (int y = 0; y < height; y++) {
		memset(below, 0, (size_t)(width + 2) * sizeof *below);
		for (int x = 0; x < width; x++) {
			int value = *from++ + ((here[x + 1] + 8) >> 4);
			int error = value > 127 ? value - 255 : value;
			*to++ = value > 127 ? 255 : 0;
			here[x + 2] += 7 * error;
			below[x] += 3 * error;
			below[x + 1] += 5 * error;
			below[x + 2] += error;
		}
		int *swap = here;
		here = below;
		below = swap;
	}
}

int main(int count, char **arguments)
{
	long passes = count == 2 ? strtol(arguments[1], NULL, 10) : 0;
	size_t length = read_all();
	int width = 0, height = 0, header = 0;

	if (passes < 1)
		return fail("give one argument, the number of passes");
	if (length == sizeof input)
		return fail("the picture is too large");
	input[length] = 0;
	if (sscanf((const char *)input, "P5 %5d %5d 255%n", &width, &height, &header) != 2 || header == 0)
		return fail("no greyscale PGM (P5, 255) on standard input");
	header++;
	if (width < 1 || height < 1 || (size_t)header + (size_t)width * (size_t)height != length)
		return fail("the picture is not as large as its header says");
	unsigned char *output = malloc(length);
	int *errors = malloc(2 * (size_t)(width + 2) * sizeof *errors);
	if (!output || !errors)
		return fail("not enough memory");
	memcpy(output, input, (size_t)header);
	for (long pass = 0; pass < passes; pass++) {
		dither(input + header, output + header, width, height, errors);
		__asm__ volatile("" : : "r"(output) : "memory"); /* each pass is done, not just the last */
	}
	return write_all(output, length) ? fail("standard output was closed") : 0;
}
