package pipeline

import (
	"slices"
	"strings"
)

// CredentialName reports whether a variable of the environment looks by its name as
// if it held a credential. Case does not matter.
func CredentialName(name string) bool {
	name = strings.ToUpper(name)
	part := func(s string) bool { return strings.Contains(name, s) }
	end := func(s string) bool { return strings.HasSuffix(name, s) }

	return slices.ContainsFunc([]string{"TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "PRIVATE_KEY", "APIKEY"}, part) ||
		slices.ContainsFunc([]string{"_KEY", "_PASS", "_PWD", "_PAT", "_JWT"}, end)
}
