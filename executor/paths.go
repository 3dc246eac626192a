package executor

// LogName is the file in Process.Dir that holds standard output and standard
// error as they came. It does not exist while there is no output.
const LogName = "output.log"

// TimesName is the file in Process.Dir that says when the output was written.
const TimesName = "output.times"

// LogPath is the file of the output of a process whose Dir is dir. It does not
// exist before the first byte of output.
func LogPath(dir string) string { return dir + "/" + LogName }

// TimesPath is the file that says when the output was written, as
// pipeline.LogMarks makes it. It exists only if the output did not come at once.
func TimesPath(dir string) string { return dir + "/" + TimesName }

// CookieVariable is the one variable that a runner adds to an environment: it
// marks every descendant as a member of its attempt. A nested pipeline adds its
// own cookie after a blank, so that the outer runner still finds the process.
const CookieVariable = "PIPELINED_ATTEMPT_COOKIE"
