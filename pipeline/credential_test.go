package pipeline_test

import (
	"testing"

	"github.com/pipelined/pipelined/pipeline"
)

func TestCredentialName(t *testing.T) {
	for name, want := range map[string]bool{
		"GITHUB_TOKEN": true, "npm_config__authToken": true, "AWS_SECRET_ACCESS_KEY": true, "DB_PASSWORD": true, "PGPASSWORD": true, "MYSQL_PWD": true,
		"SIGNING_KEY": true, "key_passphrase": true, "GOOGLE_CREDENTIALS": true, "CI_JOB_JWT": true, "AZURE_PAT": true, "DB_PASS": true,
		"OPENAI_APIKEY": true, "PRIVATE_KEY_PEM": true,
		"GITHUB_SHA": false, "GITHUB_REF_NAME": false, "PWD": false, "OLDPWD": false, "PATH": false, "KEYBOARD": false, "MONKEY": false, "GO_PATH": false,
		"SSH_AUTH_SOCK": false, "COMPASS": false, "": false,
	} {
		if got := pipeline.CredentialName(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}
