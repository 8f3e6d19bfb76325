module example.test/httpapp

go 1.21
