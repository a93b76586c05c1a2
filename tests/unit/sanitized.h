/* SPDX-License-Identifier: MIT */
/* SANITIZED: 1 with AddressSanitizer, under which a test does less or takes longer. */
#ifndef SDE_TESTS_UNIT_SANITIZED_H
#define SDE_TESTS_UNIT_SANITIZED_H

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#endif
