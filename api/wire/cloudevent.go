package wire

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// MediaCloudEvent is the media type of a CloudEvent.
const MediaCloudEvent = "application/cloudevents+json"

// CloudEvent is an event in the form of CloudEvents 1.0, with a CDEvent as its data.
type CloudEvent struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Subject         string    `json:"subject"`
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	Data            CDEvent   `json:"data"`
}

// CDEvent is an event in the form of CDEvents 0.5. CustomData is the event as the API
// has it.
type CDEvent struct {
	Context               CDEventContext `json:"context"`
	Subject               CDEventSubject `json:"subject"`
	CustomDataContentType string         `json:"customDataContentType"`
	CustomData            Event          `json:"customData"`
}

// CDEventContext says which event it is.
type CDEventContext struct {
	Version   string    `json:"version"`
	ID        string    `json:"id"`
	Source    string    `json:"source"`
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
}

// CDEventSubject is what the event is about.
type CDEventSubject struct {
	ID      string         `json:"id"`
	Source  string         `json:"source"`
	Type    string         `json:"type"`
	Content CDEventContent `json:"content"`
}

// CDEventContent is of runs and of modules; empty for other subjects.
type CDEventContent struct {
	PipelineName string           `json:"pipelineName,omitempty"`
	TaskName     string           `json:"taskName,omitempty"`
	URI          string           `json:"uri,omitempty"`
	PipelineRun  *CDEventRelation `json:"pipelineRun,omitempty"`
	Outcome      string           `json:"outcome,omitempty"`
	Errors       string           `json:"errors,omitempty"`
}

// CDEventRelation names another subject.
type CDEventRelation struct {
	ID string `json:"id"`
}

// CloudEventOf gives an event the form of CloudEvents. base is the address of the
// dashboard, to which it links.
func CloudEventOf(e Event, base string) CloudEvent {
	cluster, _, _ := strings.Cut(e.ID, "-")
	source := "/pipelined/" + cluster
	subject := CDEventSubject{ID: cmp.Or(e.Node, e.Data.Subject, cluster), Source: source, Type: subjectType(e.Type)}
	switch {
	case e.Run != "" && e.Module != "":
		subject.ID = fmt.Sprintf("%s/%s/%d", e.Run, e.Module, e.Attempt)
	case e.Run != "":
		subject.ID = string(e.Run)
	}

	switch subject.Type {
	case "pipelineRun":
		subject.Content = CDEventContent{PipelineName: e.Pipeline, URI: runURI(base, e.Run, ""), Outcome: e.Data.Outcome, Errors: e.Reason}
	case "taskRun":
		subject.Content = CDEventContent{TaskName: e.Module, URI: runURI(base, e.Run, e.Module), PipelineRun: &CDEventRelation{ID: string(e.Run)},
			Outcome: e.Data.Outcome, Errors: e.Reason}
	}
	if subject.Content.Outcome == "" {
		subject.Content.Errors = "" // only what has ended has some
	}

	return CloudEvent{SpecVersion: "1.0", ID: e.ID, Source: source, Type: e.Type, Subject: subject.ID, Time: e.Time, DataContentType: "application/json",
		Data: CDEvent{Subject: subject, CustomDataContentType: "application/json", CustomData: e,
			Context: CDEventContext{Version: "0.5.0", ID: e.ID, Source: source, Type: e.Type, Timestamp: e.Time}}}
}

// subjectType is the type of subject that a type of events is about.
func subjectType(full string) string {
	switch part := strings.Split(full, "."); {
	case len(part) < 4:
		return ""
	case part[2] == "pipelinerun":
		return "pipelineRun"
	case part[2] == "taskrun":
		return "taskRun"
	default:
		return part[2]
	}
}

// RunURI is where the dashboard at base shows a run.
func RunURI(base string, run pipeline.RunID) string { return runURI(base, run, "") }

// runURI is where the dashboard shows a run or a module.
func runURI(base string, run pipeline.RunID, module string) string {
	uri := strings.TrimRight(base, "/") + "/runs/" + url.PathEscape(string(run))
	if module != "" {
		uri += "?m=" + url.QueryEscape(module)
	}
	return uri
}
