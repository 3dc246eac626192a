# run: succeeded
# rules: 6
# a: succeeded
# attempts a: 2
# log a: 2
pipeline "retry_helps" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    script = "echo $PIPELINED_ATTEMPT; test $PIPELINED_ATTEMPT = 2"
    retry {
      attempts = 5
      backoff  = "10ms"
    }
  }
}
