module example.com/shardwright-bot

go 1.18
