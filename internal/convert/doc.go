// Package convert writes pipelines out of the files of other tools: workflows of GitHub
// Actions and DAGs of Dagu. What has no counterpart becomes a comment in the pipeline
// that names the line and the reason, and a Note.
//
// What is converted keeps its meaning. A condition that cannot be converted becomes
// `when = false`, since a job that was guarded must not run unguarded.
package convert

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Format is a kind of file that can be converted.
type Format string

// The formats.
const (
	GitHub Format = "github"
	Dagu   Format = "dagu"
)

// Formats are all formats.
var Formats = []Format{GitHub, Dagu}

// Note says what of a file was not converted.
type Note struct {
	// Line is that of the file, from 1.
	Line int
	// In is the module that it concerns; "" is the pipeline.
	In string
	// What is the construct, Why the reason and what to do about it.
	What, Why string
}

func (n Note) String() string { return fmt.Sprintf("line %d: %s: %s", n.Line, n.What, n.Why) }

// Result is a pipeline.
type Result struct {
	// Name is the pipeline's.
	Name string
	// Source is its text, not yet formatted.
	Source string
	// Modules are its modules; Steps are the steps that they were made of, and
	// Converted those of them that are in the pipeline.
	Modules, Steps, Converted int
	// Notes are in the order of the lines.
	Notes []Note
}

// Detect gives the format of a file, by its content; "" if it is neither. The error says
// why it is no YAML.
func Detect(text []byte) (Format, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return "", err
	}
	if len(doc.Content) == 0 {
		return "", nil
	}
	switch root := doc.Content[0]; {
	case get(root, "jobs") != nil:
		return GitHub, nil
	case get(root, "steps") != nil:
		return Dagu, nil
	}
	return "", nil
}

// Convert makes a pipeline of a file. The error says what is wrong with the file.
func Convert(format Format, fileName string, text []byte) (Result, error) {
	name := pipelineName(strings.TrimSuffix(filepath.Base(fileName), filepath.Ext(fileName)))
	switch format {
	case GitHub:
		return convertWorkflow(name, text)
	case Dagu:
		return convertDAG(name, text)
	}
	return Result{}, fmt.Errorf("format %q: expected github or dagu", format)
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// maxName leaves room, in the 64 bytes of a name, for what keeps two of them apart.
const maxName = 58

// pipelineName makes a name of the language out of a text.
func pipelineName(text string) string {
	name := strings.Trim(notInNames.ReplaceAllString(text, "-"), "-")
	name = strings.TrimRight(name[:min(len(name), maxName)], "-")
	if name == "" {
		return "pipeline"
	}
	if c := name[0]; c >= '0' && c <= '9' || c == '_' {
		name = "p-" + strings.TrimLeft(name, "_")
	}
	return name
}
