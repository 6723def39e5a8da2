/* What every subcommand shares. */
#include "cli/cli.h"

#include <stdlib.h>
#include <unistd.h>

bool cli_colour(FILE *stream)
{
    const char *no_color = getenv("NO_COLOR");
    return (!no_color || !*no_color) && isatty(fileno(stream));
}
