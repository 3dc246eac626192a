# run: succeeded
# rules: 7
# a: succeeded
# b: succeeded
# log a: 1 2
# log b: 1 3
pipeline "template" {
  workspace {
    exclude = ["**"]
  }
  template "t" {
    env    = { A = "1", B = "2" }
    script = "echo $A $B"
  }
  module "a" {
    use = template.t
  }
  module "b" {
    use = template.t
    env = { B = "3" }
  }
}
