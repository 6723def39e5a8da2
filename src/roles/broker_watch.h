/* What the broker's event loop watches: the first member of each. */
#pragma once

enum broker_watch_kind { BROKER_WATCH_PARENT, BROKER_WATCH_CHANNEL, BROKER_WATCH_ATTEMPT, BROKER_WATCH_DOCKER, BROKER_WATCH_CONTAINER };

struct broker_watch {
    enum broker_watch_kind kind;
};
