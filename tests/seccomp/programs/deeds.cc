// What a C++ program may want of its machine, one deed each: named by its first argument.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

static int echo() {
    std::string line;
    while (std::getline(std::cin, line)) std::cout << line << '\n';
    return 7;
}

static int compute() {
    std::map<std::string, double> sums;
    for (int i = 0; i < 100000; i++) sums["key " + std::to_string(i % 97)] += i / 3.0;
    std::cout << sums.size() << ' ' << std::setprecision(12) << sums["key 11"] << std::endl;
    return 0;
}

static int threads() {
    std::mutex lock;
    long sum = 0;
    std::vector<std::thread> made;
    for (int i = 0; i < 4; i++)
        made.emplace_back([&] {
            for (int j = 0; j < 20000; j++) {
                std::lock_guard<std::mutex> held(lock);
                sum++;
            }
        });
    for (auto &thread : made) thread.join();
    std::cout << sum << std::endl;
    return 0;
}

struct Told {
    ~Told() { std::cout << "unwound" << std::endl; }
};

static int exceptions() {
    try {
        Told told;
        std::vector<int>{1}.at(5);
    } catch (const std::out_of_range &) {
        std::cout << "caught" << std::endl;
    }
    std::exception_ptr elsewhere;
    std::thread([&] {
        try {
            throw std::runtime_error("from a thread");
        } catch (...) {
            elsewhere = std::current_exception();
        }
    }).join();
    try {
        std::rethrow_exception(elsewhere);
    } catch (const std::exception &error) {
        std::cout << error.what() << std::endl;
    }
    return 0;
}

static int rest() {
    auto before = std::chrono::steady_clock::now();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    auto passed = std::chrono::steady_clock::now() - before;
    std::cout << (passed >= std::chrono::milliseconds(20) ? "rested" : "no rest") << std::endl;
    return 0;
}

static int memory() {
    std::vector<std::unique_ptr<std::vector<char>>> kept;
    for (int i = 0; i < 300; i++) {
        auto piece = std::make_unique<std::vector<char>>(1 << 20, char(i));
        if (i % 3 == 0) kept.push_back(std::move(piece));
    }
    std::cout << kept.size() << " MiB" << std::endl;
    return 0;
}

static int hog() {
    std::vector<std::vector<char>> kept;
    for (;;) kept.emplace_back(1 << 20, 1);
}

static int file() {
    std::ifstream opened("/etc/passwd");
    std::cout << (opened ? "a file" : "no file") << std::endl;
    return bool(opened);
}

static volatile std::sig_atomic_t asked;

static int quit() {
    std::signal(SIGQUIT, [](int number) { asked = number; });
    std::cout << "ready" << std::endl;
    while (!asked) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::cout << "finished in time" << std::endl;
    return 5;
}

int main(int count, char **values) {
    const std::map<std::string, int (*)()> deeds = {
        {"echo", echo}, {"compute", compute}, {"threads", threads}, {"exceptions", exceptions}, {"rest", rest},
        {"memory", memory}, {"hog", hog}, {"file", file}, {"quit", quit},
    };
    auto found = deeds.find(count > 1 ? values[1] : "");
    if (found != deeds.end()) return found->second();
    std::cerr << count << " arguments, the last is " << values[count - 1] << std::endl;
    std::cout << "hello" << std::endl;
    return 3;
}
