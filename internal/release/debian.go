package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// writeCopyright writes the file with which each package of Debian says its licences.
func writeCopyright(dir string) (string, error) {
	text := `pipelined is licensed under the Apache License, Version 2.0. On Debian systems
its text is in /usr/share/common-licenses/Apache-2.0.

The licences of what is linked in are in THIRD-PARTY-LICENSES.gz beside this file.

Copyright 2026 the authors of pipelined
Source: ` + homepage + "\n"
	file := filepath.Join(dir, "copyright")

	return file, os.WriteFile(file, []byte(text), 0o644)
}

// writeChangelog writes the changes of the package, other than those of the program.
func (b *build) writeChangelog(dir string) (string, error) {
	text := fmt.Sprintf("pipelined (%s-%s) unstable; urgency=medium\n\n  * Built from commit %s.\n\n -- %s  %s\n",
		packageVersion(b.version), packageRelease, b.commit, maintainer, b.time.Format(time.RFC1123Z))

	file := filepath.Join(dir, "changelog.Debian")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return "", err
	}

	return compress(file, file+".gz")
}

// compress writes a file in the form of gzip, without its name and time.
func compress(source, file string) (string, error) {
	text, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}

	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return "", err
	}

	if _, err := z.Write(text); err != nil {
		return "", err
	}

	if err := z.Close(); err != nil {
		return "", err
	}

	return file, os.WriteFile(file, out.Bytes(), 0o644)
}
