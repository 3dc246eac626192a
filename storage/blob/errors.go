package blob

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/disk"
)

// MissingError says that a blob is not here. Its kind is pipeline.NotFound.
type MissingError struct {
	Digest pipeline.Digest
}

// Error names the blob.
func (e *MissingError) Error() string { return "blob " + string(e.Digest) + " is not here" }

// Unwrap gives the error its kind.
func (e *MissingError) Unwrap() error {
	return &pipeline.Error{Kind: pipeline.NotFound, Message: e.Error()}
}

// CorruptError says that the bytes of a blob were not those of its digest. The
// copy has been quarantined by then: the blob is missing, and a good copy may be
// put. Its kind is pipeline.NotFound.
type CorruptError struct {
	Digest pipeline.Digest
	// Path is where the bad copy was.
	Path string
}

// Error names the blob and the file.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("blob %s is corrupt in %s: the copy is quarantined; another one must be fetched", e.Digest, e.Path)
}

// Unwrap gives the error its kind.
func (e *CorruptError) Unwrap() error {
	return &pipeline.Error{Kind: pipeline.NotFound, Message: e.Error()}
}

// MismatchError says that bytes which were to be stored are not those of the
// digest they came under. Nothing of them is kept. Its kind is
// pipeline.Invalid.
type MismatchError struct {
	Want, Got pipeline.Digest
}

// Error names both digests.
func (e *MismatchError) Error() string {
	return fmt.Sprintf("blob %s: the bytes sent have digest %s", e.Want, e.Got)
}

// Unwrap gives the error its kind.
func (e *MismatchError) Unwrap() error {
	return &pipeline.Error{Kind: pipeline.Invalid, Message: e.Error()}
}

// BundleError says what is wrong with a bundle. Its kind is pipeline.Invalid,
// or TooLarge beyond a limit.
type BundleError struct {
	Kind   pipeline.Kind
	Reason string
	// Err is the cause, nil if there is none.
	Err error
}

// Error says what is wrong.
func (e *BundleError) Error() string {
	if e.Err != nil {
		return "read bundle: " + e.Reason + ": " + e.Err.Error()
	}
	return "read bundle: " + e.Reason
}

// Unwrap gives the kind and the cause.
func (e *BundleError) Unwrap() []error {
	kind := &pipeline.Error{Kind: e.Kind, Message: e.Error()}
	if e.Err == nil {
		return []error{kind}
	}
	return []error{kind, e.Err}
}

// storeError gives an error of a write into the store its kind: whatever it is,
// another node may succeed, and no module and no client is at fault.
func storeError(err error) error {
	var own unix.Errno
	if err = disk.Classify(err); err == nil || pipeline.KindOf(err) == pipeline.Unavailable || !errors.As(err, &own) {
		return err
	}
	return &pipeline.Error{
		Kind: pipeline.Unavailable, Err: err,
		Message: "the blobs of this node cannot be written: " + err.Error(),
	}
}
