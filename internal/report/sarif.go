package report

import (
	"io"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/pipelined/pipelined/api/wire"
)

// The part of SARIF 2.1.0 that findings with a place need.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version,omitempty"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID    string    `json:"id"`
		Short sarifText `json:"shortDescription"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		Rule      string          `json:"ruleId"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations,omitempty"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		Line      int        `json:"startLine"`
		Column    int        `json:"startColumn,omitempty"`
		EndColumn int        `json:"endColumn,omitempty"`
		Snippet   *sarifText `json:"snippet,omitempty"`
	}
)

// The rules: a pipeline has mistakes, which it must not, and warnings.
var sarifRules = []sarifRule{
	{"pipeline-error", sarifText{"The pipeline cannot be run."}},
	{"pipeline-warning", sarifText{"The pipeline is valid, but likely does not do what was meant."}},
}

// WriteSARIF writes mistakes and warnings about pipelines. version is of the program.
func WriteSARIF(w io.Writer, version string, mistakes, warnings []wire.Diagnostic) error {
	run := sarifRun{Tool: sarifTool{sarifDriver{Name: "pipelined", Version: version, Rules: sarifRules}}, Results: []sarifResult{}}
	for i := range mistakes {
		run.Results = append(run.Results, sarifResultOf(&mistakes[i], "error", sarifRules[0].ID))
	}
	for i := range warnings {
		run.Results = append(run.Results, sarifResultOf(&warnings[i], "warning", sarifRules[1].ID))
	}
	return writeDocument(w, sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}})
}

func sarifResultOf(d *wire.Diagnostic, level, rule string) sarifResult {
	text := d.Summary
	if d.Detail != "" {
		text += ": " + d.Detail
	}

	r := sarifResult{Rule: rule, Level: level, Message: sarifText{strings.TrimSpace(text)}}
	if d.File == "" {
		return r
	}

	place := sarifPhysical{Artifact: sarifArtifact{(&url.URL{Path: filepath.ToSlash(d.File)}).String()}}
	if d.Line > 0 {
		place.Region = &sarifRegion{Line: d.Line, Column: d.Column}
		if d.EndColumn > d.Column {
			place.Region.EndColumn = d.EndColumn
		}
		if d.SourceLine != "" {
			place.Region.Snippet = &sarifText{d.SourceLine}
		}
	}
	r.Locations = []sarifLocation{{place}}
	return r
}
