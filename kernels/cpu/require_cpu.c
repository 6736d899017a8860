/* Says what is wrong on a processor older than the build's baseline, before the first instruction that it lacks. In C, because
   the C++ files are compiled for the baseline itself. */
#if defined(__x86_64__)
#include <unistd.h>

__attribute__((constructor(101))) static void require_cpu(void) {
  static const char text[] =
      "ivory: [cpu] the processor must have AVX2, FMA and BMI2 (x86-64-v3, about 2013 and later), this one has not; "
      "run on another machine\n";
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) return;
  if (write(STDERR_FILENO, text, sizeof text - 1) < 0) _exit(1);
  _exit(1);
}
#else
typedef int nothing_to_require;
#endif
