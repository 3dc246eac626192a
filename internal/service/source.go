package service

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// The state keeps what a schedule was registered with, so that its pipeline can be
// compiled again with other variables. It is sealed: it holds the values of sensitive
// variables and what env_from took.

// sealSource seals a submission under the name of its pipeline.
func (v *Vault) sealSource(name string, in *wire.SubmitRequest) ([]byte, error) {
	return v.sealTexts(sealSource+name, in)
}

// openSource gives what sealSource sealed.
func (v *Vault) openSource(name string, sealed []byte) (in wire.SubmitRequest, err error) {
	return in, v.openTexts(sealSource+name, sealed, &in)
}

// givenTexts are the texts of a submission that a definition keeps.
type givenTexts struct {
	Source  string
	Imports map[string]string
}

// sealGiven gives a pipeline whose source is sealed, if it or the source of a child may hold
// the default of a sensitive variable. It does not change def.
func (v *Vault) sealGiven(def *pipeline.Pipeline) (*pipeline.Pipeline, error) {
	if def.Given.Source == "" || len(def.Scope.Sensitive)+len(def.Sources) == 0 {
		return def, nil
	}
	sealed := *def
	var err error
	sealed.Given.Sealed, err = v.sealTexts(sealGiven+def.Name, givenTexts{def.Given.Source, def.Given.Imports})
	sealed.Given.Source, sealed.Given.Imports = "", nil
	return &sealed, err
}

// openGiven gives what a pipeline was compiled of, with its source.
func (v *Vault) openGiven(def *pipeline.Pipeline) (pipeline.Given, error) {
	given := def.Given
	if len(given.Sealed) == 0 {
		return given, nil
	}
	var texts givenTexts
	err := v.openTexts(sealGiven+def.Name, given.Sealed, &texts)
	given.Source, given.Imports, given.Sealed = texts.Source, texts.Imports, nil
	return given, err
}

// sealChildren gives a pipeline whose sources of children are sealed. It does not change
// def.
func (v *Vault) sealChildren(def *pipeline.Pipeline) (*pipeline.Pipeline, error) {
	if len(def.Sources) == 0 {
		return def, nil
	}
	sealed := *def
	var err error
	sealed.Sources = nil
	sealed.SealedSources, err = v.sealTexts(sealSources+def.Name, def.Sources)
	return &sealed, err
}

// openChildren gives a pipeline with its sources of children.
func (v *Vault) openChildren(def *pipeline.Pipeline) (*pipeline.Pipeline, error) {
	if len(def.SealedSources) == 0 {
		return def, nil
	}
	open := *def
	open.SealedSources = nil
	return &open, v.openTexts(sealSources+def.Name, def.SealedSources, &open.Sources)
}

// sealTexts seals what compresses well, for a purpose.
func (v *Vault) sealTexts(purpose string, texts any) ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if err := json.NewEncoder(w).Encode(texts); err != nil {
		return nil, fmt.Errorf("encode the %s: %w", purpose, err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compress the %s: %w", purpose, err)
	}
	return v.keys.Seal(purpose, b.Bytes()), nil
}

// openTexts opens what sealTexts sealed.
func (v *Vault) openTexts(purpose string, sealed []byte, texts any) error {
	raw, err := v.keys.Open(purpose, sealed)
	if err != nil {
		return fmt.Errorf("open the %s: %w", purpose, err)
	}
	r, err := gzip.NewReader(bytes.NewReader(raw))
	if err == nil {
		raw, err = io.ReadAll(r)
	}
	if err == nil {
		err = json.Unmarshal(raw, texts)
	}
	if err != nil {
		return fmt.Errorf("decode the %s: %w", purpose, err)
	}
	return nil
}

// registered gives the record of a schedule and what it was registered with.
func (s *Schedules) registered(name string) (rec fsm.ScheduleRecord, in wire.SubmitRequest, err error) {
	var sealed []byte
	err = s.state.View(func(v *fsm.View) error {
		var ok bool
		if rec, ok = v.Schedule(name); !ok {
			return noSchedule(v, name)
		}
		sealed = v.ScheduleSource(name)
		return nil
	})
	if err != nil {
		return rec, in, err
	}
	if in, err = s.vault.openSource(name, sealed); err != nil {
		err = pipeline.Errorf(pipeline.Internal, "%w", err)
	}
	return rec, in, err
}
