/*
 * doctor_checks.h - the checks of `tidepool doctor`, one a subject.
 *
 * Each looks at what was collected, and adds what it finds.
 */
#ifndef TIDEPOOL_DOCTOR_CHECKS_H
#define TIDEPOOL_DOCTOR_CHECKS_H

#include "doctor.h"

void doctor_check_options(struct doctor *doctor);
void doctor_check_devices(struct doctor *doctor);
void doctor_check_nodes(struct doctor *doctor);
void doctor_check_kernel(struct doctor *doctor);
void doctor_check_limits(struct doctor *doctor);
void doctor_check_preload(struct doctor *doctor);

/* The two forms of the result. */
void doctor_text(const struct doctor *doctor);
void doctor_json(const struct doctor *doctor);

#endif
