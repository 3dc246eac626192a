# run: succeeded
# rules: 1 s21
# a: succeeded
# log a: hello
pipeline "script_own_shell" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    script = <<-S
      #!/bin/cat
      hello
    S
  }
}
