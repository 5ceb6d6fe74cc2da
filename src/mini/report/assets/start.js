mini.begin();
