/* Writing the board. A reader may look at any moment: the stamp is odd while an entry is written. */
#include <string.h>
#include <time.h>

#include "roles/docker.h"

/* From whatever a predecessor left that was ended while it wrote. */
static void begin(uint32_t *stamp)
{
    __atomic_store_n(stamp, *stamp | 1, __ATOMIC_SEQ_CST);
}

static void end(uint32_t *stamp)
{
    __atomic_store_n(stamp, *stamp + 1, __ATOMIC_SEQ_CST);
}

static uint64_t now_s(void)
{
    return (uint64_t)time(NULL);
}

void docker_show_engine(struct docker *docker, enum docker_board_engine engine, const char *trouble)
{
    struct docker_board_head *board = docker->board ? &docker->board->head : NULL;
    if (!board)
        return;
    begin(&board->stamp);
    if (board->engine != (uint32_t)engine)
        board->since = now_s();
    board->engine = engine;
    board->n_reconnects = docker->engine.n_reconnects;
    str_copy(board->socket, sizeof board->socket, str_of(docker->socket_path));
    str_copy(board->trouble, sizeof board->trouble, str_of(trouble));
    end(&board->stamp);
}

void docker_show_version(struct docker *docker, const char *version)
{
    if (!docker->board)
        return;
    begin(&docker->board->head.stamp);
    str_copy(docker->board->head.version, sizeof docker->board->head.version, str_of(version));
    end(&docker->board->head.stamp);
}

static uint32_t status_of(const struct docker_name *name)
{
    switch (name->state) {
    case DOCKER_NAME_UNKNOWN:
        return DOCKER_BOARD_LOOKING;
    case DOCKER_NAME_RUNNING:
        return name->is_paused ? DOCKER_BOARD_PAUSED : DOCKER_BOARD_RUNNING;
    case DOCKER_NAME_REFUSED:
        return DOCKER_BOARD_REFUSED;
    case DOCKER_NAME_ABSENT:
        break;
    }
    return name->due_ms > name->docker->loop.now_ms && name->needs_look ? DOCKER_BOARD_WAITING : DOCKER_BOARD_ABSENT;
}

void docker_show_name(const struct docker_name *name)
{
    struct docker_board *board = name->docker->board;
    if (!board || name->place >= DOCKER_BOARD_CONTAINERS)
        return;
    struct docker_board_container *entry = &board->containers[name->place];
    uint32_t status = status_of(name);
    begin(&entry->stamp);
    if (entry->status != status || strcmp(entry->reference, name->reference) != 0)
        entry->since = now_s();
    entry->status = status;
    entry->n_starts = name->n_starts;
    entry->n_replicas = name->n_replicas;
    entry->wait_ms = status == DOCKER_BOARD_WAITING ? (uint32_t)(name->due_ms - name->docker->loop.now_ms) : 0;
    str_copy(entry->reference, sizeof entry->reference, str_of(name->reference));
    str_copy(entry->id, 13, str_of(name->state == DOCKER_NAME_RUNNING ? name->run.id : ""));
    str_copy(entry->trouble, sizeof entry->trouble, str_of(name->trouble));
    end(&entry->stamp);
}

void docker_show_count(struct docker *docker)
{
    struct docker_board *board = docker->board;
    if (!board)
        return;
    begin(&board->head.stamp);
    board->head.n_containers = docker->n_names;
    end(&board->head.stamp);
    for (uint32_t i = docker->n_names; i < DOCKER_BOARD_CONTAINERS && board->containers[i].status != DOCKER_BOARD_EMPTY; i++) {
        begin(&board->containers[i].stamp);
        board->containers[i].status = DOCKER_BOARD_EMPTY;
        end(&board->containers[i].stamp);
    }
}
