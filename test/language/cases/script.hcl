# run: succeeded
# rules: 1 s21
# a: succeeded
# log a: 3
pipeline "script" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    script = "echo $((1+2))"
  }
}
