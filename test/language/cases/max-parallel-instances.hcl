# run: succeeded
# rules: s23 s29
# kill
# list: succeeded
# a[1]: succeeded
# a[2]: succeeded
# a[3]: succeeded
# a[4]: succeeded
# b[0]: succeeded
# b[1]: succeeded
# b[2]: succeeded
pipeline "max_parallel_instances" {
  workspace {
    exclude = ["**"]
  }
  module "list" {
    command = ["sh", "-c", "echo '{\"names\": [\"x\", \"y\", \"z\"]}' > $PIPELINED_OUTPUT"]
  }
  module "a" {
    matrix       = { n = [1, 2, 3, 4] }
    max_parallel = 2
    command      = ["sleep", "0.2"]
  }
  module "b" {
    for_each     = module.list.result.names
    max_parallel = 1
    command      = ["sleep", "0.1"]
  }
}
