/* Numbers of surfaces that stay what they were: a worker, its channels and its uid are known by the number. */
#pragma once

#include "base/macros.h"
#include "model/model.h"
#include "policy/image.h"

/* Reorders the model's surfaces so that each has the place it has in the plan that is in force. The place of one that is gone is held by an
 * entry that no gateway serves, and given away only when the numbers run out. Nothing is changed on failure: -ENOMEM. */
int numbers_keep(struct model *model, struct image plan) must_check;
