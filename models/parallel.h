#pragma once
/// Of io/, where decoding needs it too.
#include "io/parallel.h"
