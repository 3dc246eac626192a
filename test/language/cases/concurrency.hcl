# kill
# run: succeeded
# rules: runs
# a: succeeded
# b: succeeded
# log b: after a
pipeline "concurrency" {
  workspace {
    exclude = ["**"]
  }
  concurrency {
    group = "conformance-alone"
  }
  module "a" {
    command = ["true"]
  }
  module "b" {
    depends_on = ["a"]
    command    = ["echo", "after a"]
  }
}
