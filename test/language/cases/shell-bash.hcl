# run: failed
# rules: 1
# hidden: succeeded
# shown: failed "exit code 1"
# own: succeeded
# log own: sh
pipeline "shell_bash" {
  workspace {
    exclude = ["**"]
  }
  on_failure = "continue"
  shell      = "bash"
  module "hidden" {
    shell  = "sh"
    script = "false | cat"
  }
  module "shown" {
    script = "false | cat"
  }
  module "own" {
    script = "#!/bin/sh\nfalse | echo sh"
  }
}
