package terminal

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// CI is a system whose log knows groups of lines, and perhaps annotations of files. The
// zero value is none.
type CI int

const (
	noCI CI = iota
	github
	gitlab
	Azure
	Buildkite
)

// MaxAnnotations is how many failed modules, or mistakes, are annotated: GitHub shows
// ten of a step.
const MaxAnnotations = 10

// DetectCI finds the system by the variables that it sets.
func DetectCI(getenv func(string) string) CI {
	yes := func(name string) bool { return strings.EqualFold(getenv(name), "true") }
	switch {
	case yes("GITHUB_ACTIONS"):
		return github
	case yes("GITLAB_CI"):
		return gitlab
	case yes("TF_BUILD"):
		return Azure
	case yes("BUILDKITE"):
		return Buildkite
	}
	return noCI
}

// open begins a group that is folded once it has ended, or in GitLab and Buildkite at
// once.
func (ci CI) open(w io.Writer, title string, now time.Time) {
	switch ci {
	case github:
		fmt.Fprintf(w, "::group::%s\n", title)
	case gitlab:
		fmt.Fprintf(w, "\x1b[0Ksection_start:%d:pipelined_output[collapsed=true]\r\x1b[0K%s\n", now.Unix(), title)
	case Azure:
		fmt.Fprintf(w, "##[group]%s\n", title)
	case Buildkite:
		fmt.Fprintf(w, "--- %s\n", title)
	}
}

// end ends the group. In Buildkite the next one does, which is unfolded.
func (ci CI) end(w io.Writer, next string, now time.Time) {
	switch ci {
	case github:
		fmt.Fprintln(w, "::endgroup::")
	case gitlab:
		fmt.Fprintf(w, "\x1b[0Ksection_end:%d:pipelined_output\r\x1b[0K\n", now.Unix())
	case Azure:
		fmt.Fprintln(w, "##[endgroup]")
	case Buildkite:
		fmt.Fprintf(w, "+++ %s\n", next)
	}
}

// Values of commands in the logs of GitHub and Azure. What ends a command or a property
// is escaped as they say.
var (
	githubText  = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	githubValue = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	azureValue  = strings.NewReplacer("%", "%AZP25", "\r", "%0D", "\n", "%0A", "]", "%5D", ";", "%3B")
)

// Annotate marks a line of a file as the place of an error; line 0 is none.
func (ci CI) Annotate(w io.Writer, file string, line int, title, text string) {
	switch ci {
	case github:
		place := ""
		if line > 0 {
			place = fmt.Sprintf("file=%s,line=%d,", githubValue.Replace(file), line)
		}
		fmt.Fprintf(w, "::error %stitle=%s::%s\n", place, githubValue.Replace(title), githubText.Replace(text))
	case Azure:
		place := ""
		if line > 0 {
			place = fmt.Sprintf("sourcepath=%s;linenumber=%d;", azureValue.Replace(file), line)
		}
		fmt.Fprintf(w, "##vso[task.logissue type=error;%s]%s\n", place, azureValue.Replace(title+": "+text))
	}
}

// places are a file and a line, as compilers and tests print them.
var places = regexp.MustCompile(`(?:^|[\s("'\[])((?:[\w.@+-]+/)*[\w.@+-]+\.\w+):(\d{1,7})\b`)

// place finds the first file that exists, with its line, in the last lines of a module.
func place(lines []numbered, exists func(string) bool) (file string, line int) {
	if exists == nil {
		return "", 0
	}
	for _, l := range lines {
		for _, m := range places.FindAllStringSubmatch(Clean(l.text), -1) {
			if n, err := strconv.Atoi(m[2]); err == nil && n > 0 && exists(m[1]) {
				return m[1], n
			}
		}
	}
	return "", 0
}
