# Map and reduce over the texts in data/: a module counts the words of each
# text, one puts the counts together, and one says what came out.
#
#   pipelined run examples/wordcount.hcl
#   pipelined artifacts RUN reduce -o out
#
# Run it twice, and the second time nothing is counted: every module takes the
# recorded result of the first (cache = true). Change a text, and what depends
# on it runs again.
#
# The counts travel as files (`outputs`); the few numbers that are worth
# showing travel as results.

pipeline "wordcount" {
  description = "Counts the words of five short texts"

  locals {
    # The same script for every text; which one is in $TEXT.
    count = <<-SH
      mkdir -p counts
      tr -cs "[:alpha:]" "\n" < "data/$TEXT.txt" | tr "[:upper:]" "[:lower:]" | sed "/^$/d" > words
      sort words | uniq -c | awk '{ print $2 "\t" $1 }' > "counts/$TEXT.tsv"

      words=$(wc -l < words | tr -d ' ')
      longest=$(awk '{ print length($0), $0 }' words | sort -k1,1nr -k2 | head -n 1 | cut -d ' ' -f 2)
      echo "$TEXT: $words words, the longest is $longest"
      echo "words=$words"     >> "$PIPELINED_OUTPUT"
      echo "longest=$longest" >> "$PIPELINED_OUTPUT"
    SH
  }

  env = {
    LC_ALL = "C"
  }

  workspace {
    exclude = ["external-worker/**"]
  }

  module "bakery" {
    inputs  = ["data/bakery.txt"]
    outputs = ["counts/*.tsv"]
    env     = { TEXT = "bakery" }
    script  = local.count
    cache   = true
  }

  module "clockmaker" {
    inputs  = ["data/clockmaker.txt"]
    outputs = ["counts/*.tsv"]
    env     = { TEXT = "clockmaker" }
    script  = local.count
    cache   = true
  }

  module "garden" {
    inputs  = ["data/garden.txt"]
    outputs = ["counts/*.tsv"]
    env     = { TEXT = "garden" }
    script  = local.count
    cache   = true
  }

  module "lighthouse" {
    inputs  = ["data/lighthouse.txt"]
    outputs = ["counts/*.tsv"]
    env     = { TEXT = "lighthouse" }
    script  = local.count
    cache   = true
  }

  module "river" {
    inputs  = ["data/river.txt"]
    outputs = ["counts/*.tsv"]
    env     = { TEXT = "river" }
    script  = local.count
    cache   = true
  }

  # The five files of counts are laid out in its directory, because it depends on
  # the modules that made them.
  module "reduce" {
    depends_on = [module.bakery, module.clockmaker, module.garden, module.lighthouse, module.river]
    inputs     = []
    outputs    = ["totals.tsv"]
    cache      = true
    script     = <<-SH
      awk -F '\t' '{ n[$1] += $2 } END { for (w in n) print w "\t" n[w] }' counts/*.tsv |
        sort -k2,2nr -k1,1 > totals.tsv
      echo "texts: $(ls counts | wc -l | tr -d ' '), different words: $(wc -l < totals.tsv | tr -d ' ')"
      head -n 5 totals.tsv

      # One JSON object instead of key=value lines: the numbers stay numbers.
      awk -F '\t' 'NR == 1 { top = $1; times = $2 }
                   END { printf "{\"different\": %d, \"top\": \"%s\", \"times\": %d}", NR, top, times }' \
        totals.tsv > "$PIPELINED_OUTPUT"
    SH
  }

  module "report" {
    inputs = []
    cache  = true
    env = {
      BAKERY     = module.bakery.result.words
      CLOCKMAKER = module.clockmaker.result.words
      GARDEN     = module.garden.result.words
      LIGHTHOUSE = module.lighthouse.result.words
      RIVER      = module.river.result.words
      TOP        = "${module.reduce.result.top}, which stands there ${module.reduce.result.times} times"
      DIFFERENT  = module.reduce.result.different
    }
    script = <<-SH
      total=$((BAKERY + CLOCKMAKER + GARDEN + LIGHTHOUSE + RIVER))
      echo "$total words in all, $DIFFERENT of them different"
      echo "the most frequent is $TOP"
      echo "total=$total" >> "$PIPELINED_OUTPUT"
    SH
  }
}
